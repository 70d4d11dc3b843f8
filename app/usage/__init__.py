"""Usage: tokens of requests by minute, key and model, and what they cost."""
