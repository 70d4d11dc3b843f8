"""Benchmarks, one command each, results as JSON lines."""
