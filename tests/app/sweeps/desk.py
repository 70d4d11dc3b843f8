"""A project with sweeps, and a stand-in for the processes that work on them and on their jobs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import func, select

from app.catalog import Catalog
from app.db.session import SessionMaker, transaction
from app.db.tables import (
    Job,
    Sweep,
    SweepEvent,
    SweepTrial,
)
from app.jobs import checkpoints, finalization, leases, lifecycle, progress
from app.jobs.checkpoints import StoredCheckpoint
from app.jobs.failures import JobFailure
from app.jobs.finalization import ResultFile
from app.jobs.job_rules import JobRules
from app.jobs.wandb_policy import WandbPolicy
from app.sweeps import advance, outcomes, service
from app.sweeps.schemas import CreateSweep
from tests.conftest import ROOT
from tests.factories import make_file, make_project

RATES = [0.5, 1, 2, 4]
RULES = JobRules(catalog=Catalog.load(ROOT / "tests/models.toml"), wandb_policy=WandbPolicy())


@dataclass
class Desk:
    """A project with a training and a validation file."""

    sessions: SessionMaker
    project_id: str
    files: tuple[str, str]

    def create(self, rules: JobRules = RULES, **changes: Any) -> str:
        """Create a sweep over four rates, or another; return its id."""
        rates = {"learning_rate_multiplier": {"values": RATES}}
        body = {
            "job": {
                "model": "base",
                "training_file": self.files[0],
                "validation_file": self.files[1],
                "method": {
                    "type": "supervised",
                    "supervised": {"hyperparameters": {"n_epochs": changes.pop("n_epochs", 1)}},
                },
            },
            "space": rates,
            "strategy": "grid",
            "max_jobs": 16,
            "metric": "valid_loss",
            "seed": 1,
        }
        request = CreateSweep.model_validate(body | changes)
        with transaction(self.sessions) as session:
            return service.create(session, rules, self.project_id, request).id

    def advance(self, sweep_id: str, rules: JobRules = RULES) -> None:
        with transaction(self.sessions) as session:
            advance.advance(session, rules, sweep_id)

    def trials(self, sweep_id: str) -> list[SweepTrial]:
        with self.sessions() as session:
            return outcomes.list_trials(session, sweep_id)

    def sweep(self, sweep_id: str) -> Sweep:
        with self.sessions() as session:
            return session.get_one(Sweep, sweep_id)

    def events(self, sweep_id: str) -> list[str]:
        with self.sessions() as session:
            messages = select(SweepEvent.message).where(SweepEvent.sweep_id == sweep_id)
            return list(session.scalars(messages.order_by(SweepEvent.seq)))

    def jobs(self) -> int:
        with self.sessions() as session:
            return session.scalars(select(func.count()).select_from(Job)).one()

    def train(self, loss: Callable[[Job], float | None]) -> int:
        """Validate and train all jobs that wait, as a trainer does; return their number."""
        with transaction(self.sessions) as session:
            waiting = session.scalars(select(Job.id).where(Job.state == "validating_files")).all()
            for job_id in waiting:
                lifecycle.validate(session, job_id)
        count = 0
        while self._train_one(loss):
            count += 1
        return count

    def _train_one(self, loss: Callable[[Job], float | None]) -> bool:
        with transaction(self.sessions) as session:
            held = leases.acquire(session, "trainer", lease_seconds=60)
            if held is None:
                return False
            job = session.get_one(Job, held.job_id)
            value = loss(job)
            if value is None:
                failure = JobFailure("bad", "It is bad.")
                lifecycle.fail(session, job.id, failure, by_attempt=held.attempt)
                return True
            progress.record_started(
                session, job.id, held.attempt, hyperparameters=job.hyperparameters, total_steps=3
            )
            stored = StoredCheckpoint(
                step=3,
                servable=True,
                prefix=f"jobs/{job.id}",
                manifest_sha256="",
                bytes=1,
                # The loss of the last batch says nothing, as that of a sample does.
                metrics={"valid_loss": -value, "full_valid_loss": value},
            )
            checkpoints.record(session, job.id, held.attempt, stored)
            finalization.finalize(session, job.id, held.attempt)
            result = ResultFile(file_id=f"file-{job.id}", key="k", bytes=1, sha256="")
            finalization.succeed(session, job.id, held.attempt, trained_tokens=9, result=result)
        return True


def rate(job: Job) -> float:
    return float(job.hyperparameters["learning_rate_multiplier"])


def of_one(job: Job) -> float:
    return 1.0


@pytest.fixture
def desk(sessions: SessionMaker) -> Desk:
    with transaction(sessions) as session:
        project = make_project(session)
        files = make_file(session, project).id, make_file(session, project).id
    return Desk(sessions, project.id, files)
