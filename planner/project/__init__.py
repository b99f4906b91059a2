"""What deltas would weigh, without building them."""
