"""Creates jobs for a trainer whose training processes are fake, and inspects their results."""

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

# Runs a function in a thread.
RunInBackground = Callable[[Callable[[], object]], threading.Thread]
FAKE_EVALUATION_COMMAND = (
    sys.executable,
    str(Path(__file__).with_name("fake_evaluation_process.py")),
)
FAKE_TRAINING_COMMAND = (sys.executable, str(Path(__file__).with_name("fake_training_process.py")))
NUM_EXAMPLES = 12
TRAINING_FILE = b'{"messages": []}\n' * NUM_EXAMPLES


@dataclass(kw_only=True)
class JobFixture:
    """Creates jobs and reads their rows."""

    sessions: SessionMaker
    store: ObjectStore

    def create_job(
        self, *, start_model: str | None = None, test_file: bytes | None = None, **plan: Any
    ) -> str:
        """Create a queued job with `plan` as hyperparameters; returns its id."""
        with transaction(self.sessions) as session:
            project = make_project(session)
            digest = hashlib.sha256(TRAINING_FILE).hexdigest()
            file = make_file(session, project, sha256=digest, bytes=len(TRAINING_FILE))
            self.store.put(file.storage_key, TRAINING_FILE)
            fields: dict[str, Any] = {"training_file_id": file.id, "hyperparameters": plan}
            if test_file is not None:
                digest = hashlib.sha256(test_file).hexdigest()
                file = make_file(session, project, sha256=digest, bytes=len(test_file))
                self.store.put(file.storage_key, test_file)
                fields["test_file_id"] = file.id
            return make_job(session, project, start_model=start_model, **fields).id

    def get_job(self, job_id: str) -> Job:
        with transaction(self.sessions) as session:
            return session.get_one(Job, job_id)


@dataclass(kw_only=True)
class TrainerFixture(JobFixture):
    """Jobs and a trainer to run them."""

    context: TrainerContext
    runner: JobRunner


def event_messages(trainer: TrainerFixture, job_id: str) -> list[str]:
    with transaction(trainer.sessions) as session:
        rows = session.scalars(
            select(JobEvent.message).where(JobEvent.job_id == job_id).order_by(JobEvent.seq)
        )
        return list(rows)


def attempt_outcomes(trainer: TrainerFixture, job_id: str) -> list[tuple[str | None, int | None]]:
    with transaction(trainer.sessions) as session:
        rows = session.execute(
            select(JobAttempt.outcome, JobAttempt.exit_code)
            .where(JobAttempt.job_id == job_id)
            .order_by(JobAttempt.attempt)
        )
        return [(row.outcome, row.exit_code) for row in rows]


def model_weights(trainer: TrainerFixture, job_id: str) -> bytes:
    """The adapter weights of the job's model."""
    with transaction(trainer.sessions) as session:
        name = session.get_one(Job, job_id).fine_tuned_model
        prefix = session.get_one(FineTunedModel, name).storage_prefix
    return trainer.store.get(join_key(prefix, "adapter_model.safetensors"))


def clear_retry_delay(trainer: TrainerFixture, job_id: str) -> None:
    """Skip the delay before a retry."""
    with transaction(trainer.sessions) as session:
        session.execute(update(Job).where(Job.id == job_id).values(run_after=Job.created_at))


def has_metrics(trainer: TrainerFixture, job_id: str) -> bool:
    with transaction(trainer.sessions) as session:
        return (
            session.scalars(select(JobMetric.step).where(JobMetric.job_id == job_id)).first()
            is not None
        )
