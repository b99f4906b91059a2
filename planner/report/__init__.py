"""Show: tables for a terminal."""
