"""Weights & Biases runs: written during training, and given up if unreachable."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import select
from wandb.proto import wandb_internal_pb2
from wandb.sdk.internal.datastore import DataStore

from app.db.session import transaction
from app.db.tables import Job, JobEvent
from tests.polling import wait_until
from tests.worker.supervisor.fake_trainer import RunInBackground, TrainerFixture
from worker.supervisor.attempt import TrainerContext
from worker.supervisor.job_runner import JobRunner

WANDB_INTEGRATION = {
    "type": "wandb",
    "wandb": {"project": "desk", "name": "first", "entity": None, "tags": ["a", "b"]},
}


def create_wandb_job(trainer: TrainerFixture, **plan: Any) -> str:
    job_id = trainer.create_job(**plan)
    with transaction(trainer.sessions) as session:
        session.get_one(Job, job_id).integrations = [WANDB_INTEGRATION]
    return job_id


def list_events(trainer: TrainerFixture, job_id: str) -> Sequence[tuple[str, str]]:
    with transaction(trainer.sessions) as session:
        rows = session.scalars(select(JobEvent).where(JobEvent.job_id == job_id))
        return [(row.level, row.message) for row in rows]


def records(path: Path) -> list[Any]:
    """Read the records of an offline run with the library's own reader."""
    store = DataStore()
    store.open_for_scan(str(path))
    read = []
    while (data := store.scan_data()) is not None:
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        read.append(record)
    store.close()
    return read


def make_trainer(context: TrainerContext, **settings: Any) -> TrainerFixture:
    changed_settings = context.settings.model_copy(update=settings)
    changed_context = TrainerContext(
        settings=changed_settings,
        sessions=context.sessions,
        store=context.store,
        catalog=context.catalog,
        stopping=context.stopping,
        command=context.command,
    )
    return TrainerFixture(
        sessions=changed_context.sessions,
        store=changed_context.store,
        context=changed_context,
        runner=JobRunner(changed_context),
    )


def test_a_run_has_every_step_and_the_job_settings(
    context: TrainerContext, run_in_background: RunInBackground
) -> None:
    trainer = make_trainer(context, wandb_mode="offline")
    job_id = create_wandb_job(trainer, steps=6, fault="wait", at_step=6)
    thread = run_in_background(trainer.runner.run_next)
    # Training this short ends before the library is loaded.
    wait_until("the run has begun", lambda: list(context.settings.home.glob("runs/*/*.ready")))
    (folder,) = context.settings.home.glob("runs/*")
    (folder / "continue").touch()
    thread.join()
    assert trainer.get_job(job_id).state == "succeeded"
    assert not [message for level, message in list_events(trainer, job_id) if level == "warn"]
    (path,) = (context.settings.home / "wandb").rglob(f"run-{job_id}-0.wandb")
    run_records = records(path)
    (run,) = [record.run for record in run_records if record.HasField("run")]
    project = f"{trainer.get_job(job_id).project_id}-desk"
    assert (run.project, run.display_name, list(run.tags)) == (project, "first", ["a", "b"])
    steps = [
        {
            item.nested_key[0] if item.nested_key else item.key: item.value_json
            for item in r.history.item
        }
        for r in run_records
        if r.HasField("history")
    ]
    assert [step["_step"] for step in steps] == ["1", "2", "3", "4", "5", "6"]
    assert float(steps[3]["train_loss"]) == pytest.approx(1.0)


def test_an_unreachable_server_is_reported_once_and_the_job_succeeds(
    context: TrainerContext,
) -> None:
    trainer = make_trainer(
        context,
        wandb_api_key=SecretStr("0" * 40),
        wandb_base_url="http://127.0.0.1:9",
        wandb_mode="online",
    )
    job_id = create_wandb_job(trainer, steps=3)
    assert trainer.runner.run_next()
    assert trainer.get_job(job_id).state == "succeeded"
    warnings = [message for level, message in list_events(trainer, job_id) if level == "warn"]
    assert len(warnings) == 1
    assert warnings[0].startswith("Weights & Biases could not be reached: its run 1 ")


def test_a64_an_entity_that_is_not_allowed_any_more_gets_no_run(context: TrainerContext) -> None:
    trainer = make_trainer(context, wandb_mode="offline")
    job_id = create_wandb_job(trainer, steps=3)
    with transaction(trainer.sessions) as session:
        wandb = {**WANDB_INTEGRATION["wandb"], "entity": "finance"}  # type: ignore[dict-item]
        session.get_one(Job, job_id).integrations = [{"type": "wandb", "wandb": wandb}]
    assert trainer.runner.run_next()
    assert trainer.get_job(job_id).state == "succeeded"
    (warning,) = [message for level, message in list_events(trainer, job_id) if level == "warn"]
    assert warning.startswith("The operator no longer allows the W&B entity finance of run 1.")
    assert not (context.settings.home / "wandb").exists()
