"""Benchmark of serving beside other engines: `python -m bench.serving`."""
