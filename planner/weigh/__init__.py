"""What could be built: candidates proposed by rule, pruned with a reason, weighed."""
