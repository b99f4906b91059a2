"""Static deltas: the format, what is made of them, and what stock clients say."""
