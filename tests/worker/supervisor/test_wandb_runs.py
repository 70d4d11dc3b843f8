"""A run at Weights & Biases: written as training goes, and given up where it cannot be."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from wandb.proto import wandb_internal_pb2
from wandb.sdk.internal.datastore import DataStore

from app.db.session import transaction
from app.db.tables import Job, JobEvent
from tests.polling import wait_until
from tests.worker.supervisor.fake_trainer import RunInBackground, TrainerFixture
from worker.supervisor.attempt import TrainerContext
from worker.supervisor.job_runner import JobRunner

WANTED = {
    "type": "wandb",
    "wandb": {"project": "desk", "name": "first", "entity": None, "tags": ["a", "b"]},
}


def order(shop: TrainerFixture, **plan: Any) -> str:
    job_id = shop.create_job(**plan)
    with transaction(shop.sessions) as session:
        session.get_one(Job, job_id).integrations = [WANTED]
    return job_id


def told(shop: TrainerFixture, job_id: str) -> Sequence[tuple[str, str]]:
    with transaction(shop.sessions) as session:
        rows = session.scalars(select(JobEvent).where(JobEvent.job_id == job_id))
        return [(row.level, row.message) for row in rows]


def records(path: Path) -> list[Any]:
    """What an offline run holds, by the library's own reader."""
    store = DataStore()
    store.open_for_scan(str(path))
    found = []
    while (data := store.scan_data()) is not None:
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        found.append(record)
    store.close()
    return found


def shop_with(machine: TrainerContext, **settings: Any) -> TrainerFixture:
    changed = machine.settings.model_copy(update=settings)
    own = TrainerContext(
        settings=changed,
        sessions=machine.sessions,
        store=machine.store,
        catalog=machine.catalog,
        stopping=machine.stopping,
        command=machine.command,
    )
    return TrainerFixture(
        sessions=own.sessions, store=own.store, context=own, runner=JobRunner(own)
    )


def test_a_run_has_every_step_and_what_the_job_is(
    machine: TrainerContext, background: RunInBackground
) -> None:
    shop = shop_with(machine, wandb_mode="offline")
    job_id = order(shop, steps=6, ending="waits", at=6)
    thread = background(shop.runner.run_next)
    # Training of such a length ends before the library is loaded.
    wait_until("the run has begun", lambda: list(machine.settings.home.glob("runs/*/*.ready")))
    (folder,) = machine.settings.home.glob("runs/*")
    (folder / "go on").touch()
    thread.join()
    assert shop.get_job(job_id).state == "succeeded"
    assert not [message for level, message in told(shop, job_id) if level == "warn"]
    (path,) = (machine.settings.home / "wandb").rglob(f"run-{job_id}-0.wandb")
    written = records(path)
    (run,) = [record.run for record in written if record.HasField("run")]
    assert (run.project, run.display_name, list(run.tags)) == ("desk", "first", ["a", "b"])
    steps = [
        {
            item.nested_key[0] if item.nested_key else item.key: item.value_json
            for item in r.history.item
        }
        for r in written
        if r.HasField("history")
    ]
    assert [step["_step"] for step in steps] == ["1", "2", "3", "4", "5", "6"]
    assert float(steps[3]["train_loss"]) == pytest.approx(1.0)


def test_one_that_cannot_be_reached_is_told_once_and_hurts_nobody(machine: TrainerContext) -> None:
    shop = shop_with(
        machine, wandb_api_key="0" * 40, wandb_base_url="http://127.0.0.1:9", wandb_mode="online"
    )
    job_id = order(shop, steps=3)
    assert shop.runner.run_next()
    assert shop.get_job(job_id).state == "succeeded"
    warnings = [message for level, message in told(shop, job_id) if level == "warn"]
    assert len(warnings) == 1
    assert warnings[0].startswith("Weights & Biases could not be reached: its run 1 ")
