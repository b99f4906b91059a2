"""Tests of planner.build."""
