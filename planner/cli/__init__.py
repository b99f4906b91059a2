"""The command line: one file per verb; the only place for argv, environment, clock and exit status."""
