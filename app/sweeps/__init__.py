"""Sweeps: jobs that differ in some hyperparameters, and the choice of the best by a metric."""
