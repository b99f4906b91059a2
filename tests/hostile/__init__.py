"""Hostile inputs for the code that clients run, and a watched place to feed them in."""
