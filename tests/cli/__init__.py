"""Tests of planner.cli."""
