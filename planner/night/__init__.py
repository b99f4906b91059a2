"""One night, end to end: import, weigh, plan, build, publish, follow, over a work folder."""
