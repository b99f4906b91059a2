"""Which to build: the problem, the one `evaluate()`, solvers, bounds and peer policies. Pure."""
