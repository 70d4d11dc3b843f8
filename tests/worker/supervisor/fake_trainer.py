"""Where tests order trainings from a trainer whose training processes are fakes."""

import hashlib
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from app.db.session import SessionMaker, transaction
from app.db.tables import Job, JobAttempt, JobEvent, JobMetric, TunedModel
from app.storage import BlobStore, inside
from tests.factories import make_file, make_job, make_project
from worker.supervisor.attempt import Machine
from worker.supervisor.job_runner import Supervisor

# Runs something beside the test.
Background = Callable[[Callable[[], object]], threading.Thread]
FAKE_TRAINING = (sys.executable, str(Path(__file__).with_name("fake_training.py")))
EXAMPLES = 12
TEXT = b'{"messages": []}\n' * EXAMPLES


@dataclass(kw_only=True)
class Shop:
    """Takes orders, and tells how they stand."""

    sessions: SessionMaker
    store: BlobStore

    def order(self, *, start_model: str | None = None, **plan: Any) -> str:
        """A queued job whose training goes by `plan`; its id."""
        with transaction(self.sessions) as session:
            project = make_project(session)
            digest = hashlib.sha256(TEXT).hexdigest()
            file = make_file(session, project, sha256=digest, bytes=len(TEXT))
            self.store.put(file.storage_key, TEXT)
            asked = {"training_file_id": file.id, "hyperparameters": plan}
            return make_job(session, project, start_model=start_model, **asked).id

    def job(self, job_id: str) -> Job:
        with transaction(self.sessions) as session:
            return session.get_one(Job, job_id)


@dataclass(kw_only=True)
class Workshop(Shop):
    """A shop with a trainer in it."""

    machine: Machine
    supervisor: Supervisor


def texts(shop: Workshop, job_id: str) -> list[str]:
    with transaction(shop.sessions) as session:
        rows = session.scalars(
            select(JobEvent.message).where(JobEvent.job_id == job_id).order_by(JobEvent.seq)
        )
        return list(rows)


def outcomes(shop: Workshop, job_id: str) -> list[tuple[str | None, int | None]]:
    with transaction(shop.sessions) as session:
        rows = session.execute(
            select(JobAttempt.outcome, JobAttempt.exit_code)
            .where(JobAttempt.job_id == job_id)
            .order_by(JobAttempt.epoch)
        )
        return [(row.outcome, row.exit_code) for row in rows]


def weights(shop: Workshop, job_id: str) -> bytes:
    """The adapter that the job's model is served from."""
    with transaction(shop.sessions) as session:
        name = session.get_one(Job, job_id).tuned_model
        prefix = session.get_one(TunedModel, name).storage_prefix
    return shop.store.get(inside(prefix, "adapter_model.safetensors"))


def at_once(shop: Workshop, job_id: str) -> None:
    """Spare the test the delay that a crash costs."""
    with transaction(shop.sessions) as session:
        session.execute(update(Job).where(Job.id == job_id).values(run_after=Job.created_at))


def has_steps(shop: Workshop, job_id: str) -> bool:
    with transaction(shop.sessions) as session:
        return (
            session.scalars(select(JobMetric.step).where(JobMetric.job_id == job_id)).first()
            is not None
        )
