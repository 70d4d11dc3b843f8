"""Benchmarks: one command each; results are JSON lines."""
