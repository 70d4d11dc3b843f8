"""Run folders of the tiny model, as for training."""

from tests.worker.training.conftest import make_run, training_settings

__all__ = ["make_run", "training_settings"]
