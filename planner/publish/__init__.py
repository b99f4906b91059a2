"""Hand over: deltas into the repository, then the route index, then the summary."""
