"""Training speed and loss beside other trainers; see `python -m bench.training --help`."""
