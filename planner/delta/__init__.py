"""OSTree's static deltas, read, written and applied by ourselves: superblocks, parts, operations."""
