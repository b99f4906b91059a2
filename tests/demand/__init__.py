"""Tests of who asks for what."""
