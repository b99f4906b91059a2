"""The client: walks a route, checks where it ends, falls back to a full pull."""
