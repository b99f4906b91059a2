"""Tests of planner.night."""
