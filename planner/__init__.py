"""Plans, builds and proves direct and recursive deltas."""
