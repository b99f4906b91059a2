"""Tests of planner.optimize."""
