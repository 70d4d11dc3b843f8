"""Benchmarks of the API against bare routes that do the same reading or writing."""
