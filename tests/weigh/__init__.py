"""Tests of what could be built."""
