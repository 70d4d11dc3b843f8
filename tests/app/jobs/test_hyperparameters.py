"""Hyperparameters of encoder methods: an extension of OpenAI's API."""

import pytest
from pydantic import ValidationError

from app.jobs.schemas import CreateJob

JOB = {"model": "m", "training_file": "file-x"}


def test_reads_the_methods_own_block() -> None:
    block = {"hyperparameters": {"tuning": "full", "n_epochs": 4}}
    request = CreateJob.model_validate(
        {**JOB, "method": {"type": "classification", "classification": block}}
    )
    chosen = request.merge_hyperparameters()
    assert (chosen["tuning"], chosen["n_epochs"]) == ("full", 4)
    assert chosen["early_stopping_patience"] == "auto"


def test_chat_methods_have_no_encoder_hyperparameters() -> None:
    assert "tuning" not in CreateJob.model_validate(JOB).merge_hyperparameters()


def test_rejects_invalid_values() -> None:
    block = {"hyperparameters": {"tuning": "half"}}
    with pytest.raises(ValidationError, match="tuning"):
        CreateJob.model_validate(
            {**JOB, "method": {"type": "classification", "classification": block}}
        )
