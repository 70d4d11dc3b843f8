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
from app.db.tables import FineTunedModel, Job, JobAttempt, JobEvent, JobMetric
from app.storage import ObjectStore, join_key
from tests.factories import make_file, make_job, make_project
from worker.supervisor.attempt import TrainerContext
from worker.supervisor.job_runner import JobRunner

# Runs something beside the test.
RunInBackground = Callable[[Callable[[], object]], threading.Thread]
FAKE_TRAINING_COMMAND = (sys.executable, str(Path(__file__).with_name("fake_training.py")))
NUM_EXAMPLES = 12
TRAINING_FILE = b'{"messages": []}\n' * NUM_EXAMPLES


@dataclass(kw_only=True)
class JobFixture:
    """Takes orders, and tells how they stand."""

    sessions: SessionMaker
    store: ObjectStore

    def create_job(self, *, start_model: str | None = None, **plan: Any) -> str:
        """A queued job whose training goes by `plan`; its id."""
        with transaction(self.sessions) as session:
            project = make_project(session)
            digest = hashlib.sha256(TRAINING_FILE).hexdigest()
            file = make_file(session, project, sha256=digest, bytes=len(TRAINING_FILE))
            self.store.put(file.storage_key, TRAINING_FILE)
            asked = {"training_file_id": file.id, "hyperparameters": plan}
            return make_job(session, project, start_model=start_model, **asked).id

    def get_job(self, job_id: str) -> Job:
        with transaction(self.sessions) as session:
            return session.get_one(Job, job_id)


@dataclass(kw_only=True)
class TrainerFixture(JobFixture):
    """A shop with a trainer in it."""

    context: TrainerContext
    runner: JobRunner


def event_messages(shop: TrainerFixture, job_id: str) -> list[str]:
    with transaction(shop.sessions) as session:
        rows = session.scalars(
            select(JobEvent.message).where(JobEvent.job_id == job_id).order_by(JobEvent.seq)
        )
        return list(rows)


def attempt_outcomes(shop: TrainerFixture, job_id: str) -> list[tuple[str | None, int | None]]:
    with transaction(shop.sessions) as session:
        rows = session.execute(
            select(JobAttempt.outcome, JobAttempt.exit_code)
            .where(JobAttempt.job_id == job_id)
            .order_by(JobAttempt.epoch)
        )
        return [(row.outcome, row.exit_code) for row in rows]


def model_weights(shop: TrainerFixture, job_id: str) -> bytes:
    """The adapter that the job's model is served from."""
    with transaction(shop.sessions) as session:
        name = session.get_one(Job, job_id).tuned_model
        prefix = session.get_one(FineTunedModel, name).storage_prefix
    return shop.store.get(join_key(prefix, "adapter_model.safetensors"))


def clear_retry_delay(shop: TrainerFixture, job_id: str) -> None:
    """Spare the test the delay that a crash costs."""
    with transaction(shop.sessions) as session:
        session.execute(update(Job).where(Job.id == job_id).values(run_after=Job.created_at))


def has_metrics(shop: TrainerFixture, job_id: str) -> bool:
    with transaction(shop.sessions) as session:
        return (
            session.scalars(select(JobMetric.step).where(JobMetric.job_id == job_id)).first()
            is not None
        )
