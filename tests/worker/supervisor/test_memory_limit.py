"""A job on a machine without the memory for one row's activations."""

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import select
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from app.catalog import Catalog, CatalogModel
from app.db.session import transaction
from app.db.tables import JobMetric
from tests.factories import make_file, make_job, make_project
from tests.worker.conftest import tiny_config
from tests.worker.supervisor.fake_trainer import (
    JobFixture,
    TrainerFixture,
    attempt_outcomes,
    event_messages,
)
from worker.run_folder import ExitCode
from worker.supervisor.attempt import TrainerContext
from worker.supervisor.job_runner import JobRunner
from worker.supervisor.training_process import TRAINING_COMMAND

pytestmark = pytest.mark.golden

LIMITED_COMMAND = (sys.executable, str(Path(__file__).with_name("memory_limited_training.py")))
# 900 tokens with the roles around it: the tokenizer's tokens are bytes.
ANSWER = "".join(f"{number} " for number in range(1000))[:840]


@pytest.fixture
def deep_model(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> CatalogModel:
    """A model whose activations are far larger than its weights."""
    folder = tmp_path / "deep-model"
    config = tiny_config()
    config.update({"hidden_size": 64, "intermediate_size": 172, "num_hidden_layers": 24})
    config.update({"max_position_embeddings": 1024, "head_dim": 16})
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    entry = {"id": "deep", "source": f"path:{folder}", "kind": "causal", "context_length": 1024}
    return CatalogModel.from_json({**entry, "methods": ["supervised"]})


@pytest.fixture
def make_trainer(context: TrainerContext, deep_model: CatalogModel) -> Any:
    def make(command: tuple[str, ...]) -> TrainerFixture:
        limited = replace(context, catalog=Catalog([deep_model]), command=command)
        return TrainerFixture(
            sessions=context.sessions,
            store=context.store,
            context=limited,
            runner=JobRunner(limited),
        )

    return make


def create_job(jobs: JobFixture) -> str:
    rows = [
        {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": ANSWER}]}
        for q in "ab"
    ]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    with transaction(jobs.sessions) as session:
        project = make_project(session)
        digest = hashlib.sha256(data).hexdigest()
        file = make_file(session, project, sha256=digest, bytes=len(data))
        jobs.store.put(file.storage_key, data)
        numbers = {"n_epochs": 1, "batch_size": 2, "learning_rate_multiplier": "auto"}
        fields = {"training_file_id": file.id, "hyperparameters": numbers, "base_model": "deep"}
        return make_job(session, project, **fields).id


def train(trainer: TrainerFixture) -> tuple[str, list[float]]:
    """Create a job, run it to its end, and return its id and losses."""
    job_id = create_job(trainer)
    while trainer.runner.run_next():
        pass
    with transaction(trainer.sessions) as session:
        metrics = select(JobMetric.values).where(JobMetric.job_id == job_id)
        rows = session.scalars(metrics.order_by(JobMetric.step)).all()
    assert trainer.get_job(job_id).state == "succeeded", event_messages(trainer, job_id)
    return job_id, [row["train_loss"] for row in rows]


def test_it_goes_on_with_gradient_checkpointing_and_learns_the_same(make_trainer: Any) -> None:
    limited = make_trainer(LIMITED_COMMAND)
    job_id, losses = train(limited)
    ran_out = ("crashed", ExitCode.OUT_OF_DEVICE_MEMORY)
    # With 2 rows at a time, with 1, and with 1 and gradient checkpointing.
    assert attempt_outcomes(limited, job_id) == [ran_out, ran_out, ("done", 0)]
    job = limited.get_job(job_id)
    assert job.resolved_hyperparameters is not None
    assert job.resolved_hyperparameters["gradient_checkpointing"] is True
    assert any("gradient checkpointing" in line for line in event_messages(limited, job_id))
    _, unlimited_losses = train(make_trainer(TRAINING_COMMAND))
    assert losses == pytest.approx(unlimited_losses, rel=1e-5)
