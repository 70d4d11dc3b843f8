"""Hyperparameters of encoders' methods: an extension, and only theirs."""

import pytest
from pydantic import ValidationError

from app.jobs.schemas import CreateJob

JOB = {"model": "m", "training_file": "file-x"}


def test_the_block_of_the_method_counts() -> None:
    block = {"hyperparameters": {"tuning": "full", "n_epochs": 4}}
    asked = CreateJob.model_validate(
        {**JOB, "method": {"type": "classification", "classification": block}}
    )
    chosen = asked.chosen_hyperparameters()
    assert (chosen["tuning"], chosen["n_epochs"]) == ("full", 4)
    assert chosen["early_stopping_patience"] == "auto"


def test_chat_methods_have_none_of_them() -> None:
    assert "tuning" not in CreateJob.model_validate(JOB).chosen_hyperparameters()


def test_nonsense_is_refused() -> None:
    block = {"hyperparameters": {"tuning": "half"}}
    with pytest.raises(ValidationError, match="tuning"):
        CreateJob.model_validate(
            {**JOB, "method": {"type": "classification", "classification": block}}
        )
