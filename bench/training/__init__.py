"""Training speed and loss compared with other trainers; see `python -m bench.training --help`."""
