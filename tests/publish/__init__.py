"""Tests of the handing over."""
