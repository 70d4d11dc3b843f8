"""Success of a job: model, result file, usage, state and events in one transaction."""

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.tables import File, FineTunedModel, Job, JobEvent, TrainingUsage
from app.jobs import checkpoints, finalization, leases
from app.jobs.finalization import NoFinalCheckpoint, ResultFile
from app.jobs.states import LeaseLost
from tests.factories import make_job

RESULT = ResultFile(file_id="file-r", key="projects/p/files/file-r", bytes=3, sha256="s")


@pytest.fixture
def job(session: Session) -> Job:
    """A running job that has stored its final checkpoint."""
    job = make_job(session, total_steps=2)
    leases.acquire(session, "w", lease_seconds=60)
    stored = checkpoints.StoredCheckpoint(
        step=2, servable=True, prefix="p", manifest_sha256="m", bytes=1, metrics={}
    )
    checkpoints.record(session, job.id, 1, stored)
    return job


def succeed(session: Session, job: Job) -> str:
    return finalization.succeed(session, job.id, 1, trained_tokens=500, result=RESULT)


def test_success_creates_model_result_file_usage_and_events(session: Session, job: Job) -> None:
    finalization.finalize(session, job.id, 1)
    assert job.state == "finalizing"
    name = succeed(session, job)
    assert (job.state, job.fine_tuned_model, job.trained_tokens) == ("succeeded", name, 500)
    assert (job.result_file_id, job.finished_at is None) == ("file-r", False)
    assert session.get_one(FineTunedModel, name).storage_prefix == "p"
    assert session.get_one(File, "file-r").purpose == "fine-tune-results"
    assert session.get_one(TrainingUsage, job.id).trained_tokens == 500
    messages = list(session.scalars(select(JobEvent.message).order_by(JobEvent.seq)))
    assert messages[-2:] == [
        f"New fine-tuned model created: {name}",
        "The job has successfully completed",
    ]


def test_finalize_is_idempotent(session: Session, job: Job) -> None:
    for _ in range(2):
        finalization.finalize(session, job.id, 1)
    assert job.state == "finalizing"


def test_succeeding_twice_creates_one_model(session: Session, job: Job) -> None:
    finalization.finalize(session, job.id, 1)
    succeed(session, job)
    with pytest.raises(LeaseLost):
        succeed(session, job)
    assert session.scalars(select(func.count()).select_from(FineTunedModel)).one() == 1


def test_success_requires_the_final_checkpoint(session: Session, job: Job) -> None:
    finalization.finalize(session, job.id, 1)
    job.total_steps = 3
    with pytest.raises(NoFinalCheckpoint, match="step 3"):
        succeed(session, job)
