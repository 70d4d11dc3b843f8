"""Progress reported by a running job."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import Job, JobEvent, JobMetric
from app.jobs import attempt_outcomes, checkpoints, events, leases, progress
from app.jobs.progress import StepMetrics
from tests.factories import make_job


@pytest.fixture
def job(session: Session) -> Job:
    job = make_job(session)
    leases.acquire(session, "w", lease_seconds=60)
    return job


def test_stores_resolved_hyperparameters(session: Session, job: Job) -> None:
    numbers = {"n_epochs": 3, "batch_size": 1, "learning_rate_multiplier": 1.0}
    progress.record_started(session, job.id, 1, hyperparameters=numbers, total_steps=200)
    assert (job.resolved_hyperparameters, job.total_steps) == (numbers, 200)


def test_metrics_event_has_openais_wording(session: Session, job: Job) -> None:
    job.total_steps = 200
    values = {
        "train_loss": 0.7312,
        "train_mean_token_accuracy": 0.9,
        "valid_loss": 1.459,
        "full_valid_loss": 0.4,
    }
    progress.record_metrics(session, job.id, 1, [StepMetrics(60, values)])
    event = session.scalars(select(JobEvent).where(JobEvent.type == "metrics")).one()
    assert event.message == (
        "Step 60/200: training loss=0.73, validation loss=1.46, full validation loss=0.40"
    )
    assert event.data == {"step": 60, "total_steps": 200, **values}


def test_drops_nonfinite_metrics(session: Session, job: Job) -> None:
    progress.record_metrics(session, job.id, 1, [StepMetrics(1, {"train_loss": float("nan")})])
    assert session.scalars(select(JobMetric.values)).one() == {}


def test_a_later_attempts_metrics_replace_an_earlier_ones(session: Session, job: Job) -> None:
    progress.record_metrics(session, job.id, 1, [StepMetrics(1, {"train_loss": 1.0})])
    job.attempt = 2
    progress.record_metrics(session, job.id, 2, [StepMetrics(1, {"train_loss": 2.0})])
    session.expire_all()
    row = session.scalars(select(JobMetric)).one()
    assert (row.attempt, row.values) == (2, {"train_loss": 2.0})
    count = select(func.count()).select_from(JobEvent).where(JobEvent.type == "metrics")
    assert session.scalars(count).one() == 1


def test_recording_a_batch_twice_is_idempotent(session: Session, job: Job) -> None:
    """A commit whose response was lost is retried."""
    for _ in range(2):
        batch = [StepMetrics(step, {"train_loss": 1.0}) for step in (1, 2, 2, 3)]
        progress.record_metrics(session, job.id, 1, batch)
    assert sorted(session.scalars(select(JobMetric.step))) == [1, 2, 3]


def test_stores_the_estimated_finish(session: Session, job: Job) -> None:
    before = clock.now(session)
    progress.record_metrics(session, job.id, 1, [StepMetrics(1, {})], seconds_left=90)
    session.flush()
    session.refresh(job)
    assert job.estimated_finish is not None
    left = timedelta(seconds=90)
    assert before + left <= job.estimated_finish <= clock.now(session) + left


class TestOtherData:
    """An attempt whose rows differ from those of the attempt before it, so that it begins again."""

    def begin_again(self, session: Session, job: Job) -> None:
        for step in (1, 2, 3):
            metrics = StepMetrics(step, {"train_loss": 8.0})
            progress.record_metrics(session, job.id, 1, [metrics])
        stored = checkpoints.StoredCheckpoint(
            step=2, servable=True, prefix="p1", manifest_sha256="m", bytes=1, metrics={}
        )
        checkpoints.record(session, job.id, 1, stored)
        attempt_outcomes.yield_job(session, job.id, 1)
        assert leases.acquire(session, "w", lease_seconds=60) is not None
        # Twice: a commit whose response was lost is retried.
        for _ in range(2):
            progress.record_started(
                session, job.id, 2, hyperparameters={}, total_steps=2, has_other_data=True
            )
            metrics = StepMetrics(1, {"train_loss": 3.0})
            progress.record_metrics(session, job.id, 2, [metrics])

    def test_the_steps_of_both_are_events(self, session: Session, job: Job) -> None:
        job.total_steps = 3
        self.begin_again(session, job)
        messages = session.scalars(
            select(JobEvent.message)
            .where(JobEvent.message.startswith("Step "))
            .order_by(JobEvent.seq)
        )
        assert list(messages) == [
            *(f"Step {step}/3: training loss=8.00" for step in (1, 2, 3)),
            "Step 1/2: training loss=3.00",
        ]

    def test_results_and_checkpoints_are_of_the_new_rows(self, session: Session, job: Job) -> None:
        job.total_steps = 3
        self.begin_again(session, job)
        rows = session.scalars(select(JobMetric)).all()
        assert [(row.step, row.values) for row in rows] == [(1, {"train_loss": 3.0})]
        # The old step 2 would be the last one now, and so the job's model.
        assert checkpoints.list_resumable(session, job.id) == []

    def test_a_divergence_after_that_can_be_told_too(self, session: Session, job: Job) -> None:
        self.begin_again(session, job)
        events.release_keys_after(session, job, 0, before_attempt=3)
        keys = session.scalars(
            select(JobEvent.dedupe_key).where(JobEvent.dedupe_key.endswith("step:1"))
        )
        assert sorted(keys) == ["attempt-1:step:1", "attempt-2:step:1"]


def test_a_warning_is_told_once_wherever_it_stands(session: Session, job: Job) -> None:
    for warnings in (["a"], ["b", "a"], ["b"]):
        progress.record_started(
            session, job.id, 1, hyperparameters={}, total_steps=1, data_warnings=warnings
        )
    messages = session.scalars(select(JobEvent.message).where(JobEvent.level == "warn"))
    assert sorted(messages) == ["a", "b"]
