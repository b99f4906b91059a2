"""Tests of `planner.project`."""
