"""End of an attempt: requeue or failure; writes of earlier attempts are rejected."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.db.base import Base
from app.db.tables import FineTunedModel, Job, JobAttempt, JobEvent, JobLease, Outbox
from app.jobs import (
    attempt_outcomes,
    checkpoints,
    finalization,
    lease_expiry,
    leases,
    lifecycle,
    progress,
)
from app.jobs.failures import JobFailure
from app.jobs.leases import JobAssignment
from app.jobs.states import LeaseLost
from tests.factories import make_job


def acquire_job(session: Session, **changes: object) -> Job:
    """Make a job and acquire it."""
    job = make_job(session, **changes)
    assert leases.acquire(session, "w", lease_seconds=60) is not None
    return job


def get_attempt(session: Session, job: Job) -> JobAttempt:
    return session.get_one(JobAttempt, (job.id, job.attempt), populate_existing=True)


def get_seconds_until_due(session: Session, job: Job) -> float:
    """Get the seconds between the end of the job's attempt and the time it is due again."""
    pause = Job.run_after - JobAttempt.ended_at
    ended = (JobAttempt.job_id == Job.id) & (JobAttempt.attempt == Job.attempt)
    delay = session.scalars(select(pause).join(JobAttempt, ended).where(Job.id == job.id)).one()
    return delay.total_seconds()


STORED = checkpoints.StoredCheckpoint(
    step=2, servable=True, prefix="p", manifest_sha256="m", bytes=1, metrics={}
)
RESULT = finalization.ResultFile(file_id="file-r", key="k", bytes=1, sha256="s")
WRITES: dict[str, Callable[[Session, str, int], object]] = {
    "started": lambda session, job_id, attempt: progress.record_started(
        session, job_id, attempt, hyperparameters={"n_epochs": 9}, total_steps=9
    ),
    "metrics": lambda session, job_id, attempt: progress.record_metrics(
        session, job_id, attempt, [progress.StepMetrics(1, {"train_loss": 1.0})], seconds_left=5
    ),
    "checkpoint": lambda session, job_id, attempt: checkpoints.record(
        session, job_id, attempt, STORED
    ),
    "finalize": finalization.finalize,
    "succeed": lambda session, job_id, attempt: finalization.succeed(
        session, job_id, attempt, trained_tokens=1, result=RESULT
    ),
    "yielded": attempt_outcomes.yield_job,
    "postponed": lambda session, job_id, attempt: attempt_outcomes.postpone(
        session, job_id, attempt, reason="Away."
    ),
    "crashed": lambda session, job_id, attempt: attempt_outcomes.record_crash(
        session, job_id, attempt, reason="Gone."
    ),
    "out_of_memory": lambda session, job_id, attempt: attempt_outcomes.retry_with_smaller_batch(
        session, job_id, attempt, exit_code=11
    ),
    "diverged": lambda session, job_id, attempt: attempt_outcomes.restart_at_smaller_rate(
        session, job_id, attempt, JobFailure("a", "b"), last_good_step=0, exit_code=15
    ),
    "failed": lambda session, job_id, attempt: attempt_outcomes.fail(
        session, job_id, attempt, JobFailure("a", "b")
    ),
}


def read_all_rows(session: Session) -> dict[str, list[tuple[object, ...]]]:
    """Read all rows of all tables, as text."""
    session.flush()
    return {
        table.name: sorted(
            (
                tuple(row)
                for row in session.execute(text(f"SELECT {table.name}::text FROM {table.name}"))
            ),
        )
        for table in Base.metadata.sorted_tables
    }


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("held_by", ["the next attempt", "no one", "an ended job"])
def test_no_write_of_an_earlier_attempt_changes_any_row(
    session: Session, name: str, held_by: str
) -> None:
    job = acquire_job(session)
    if held_by == "an ended job":
        lifecycle.cancel(session, job.project_id, job.id)
    else:
        attempt_outcomes.yield_job(session, job.id, 1)
    if held_by == "the next attempt":
        assert leases.acquire(session, "other", lease_seconds=60) is not None
    before = read_all_rows(session)
    with pytest.raises(LeaseLost):
        WRITES[name](session, job.id, 1)
    assert read_all_rows(session) == before


class TestYield:
    def test_requeues_at_once_without_counting_a_crash(self, session: Session) -> None:
        job = acquire_job(session, no_progress_attempts=2)
        attempt_outcomes.yield_job(session, job.id, 1, exit_code=75)
        assert (job.state, job.no_progress_attempts) == ("queued", 2)
        assert get_seconds_until_due(session, job) <= 0
        assert (get_attempt(session, job).outcome, get_attempt(session, job).exit_code) == (
            "yielded",
            75,
        )
        assert session.get(JobLease, job.id) is None
        assert session.scalars(select(Outbox.payload)).one()["task"] == "train"

    def test_a_pausing_job_becomes_paused(self, session: Session) -> None:
        job = acquire_job(session)
        lifecycle.pause(session, job.project_id, job.id)
        attempt_outcomes.yield_job(session, job.id, 1)
        assert job.state == "paused"
        assert session.scalars(select(Outbox)).all() == []


class TestCrash:
    def test_requeues_at_once_the_first_time(self, session: Session) -> None:
        job = acquire_job(session)
        attempt_outcomes.record_crash(session, job.id, 1, reason="Gone.", exit_code=-11)
        assert (job.state, job.no_progress_attempts) == ("queued", 1)
        assert get_seconds_until_due(session, job) <= 0
        assert get_attempt(session, job).outcome == "crashed"
        event = session.scalars(select(JobEvent).order_by(JobEvent.seq.desc()).limit(1)).one()
        assert (event.level, event.message) == ("warn", "Gone. The job was requeued.")

    def test_requeues_with_backoff_the_second_time(self, session: Session) -> None:
        job = acquire_job(session, no_progress_attempts=1)
        attempt_outcomes.record_crash(session, job.id, 1, reason="Gone.", exit_code=-11)
        assert (job.state, job.no_progress_attempts) == ("queued", 2)
        assert 4 < get_seconds_until_due(session, job) <= 15

    def test_fails_the_third_time(self, session: Session) -> None:
        job = acquire_job(session, no_progress_attempts=2)
        attempt_outcomes.record_crash(session, job.id, 1, reason="Gone.", exit_code=-11)
        assert (job.state, job.error_code) == ("failed", "worker_crashed_repeatedly")
        assert job.error_message == (
            "Training ended 3 times without reaching a new checkpoint. Gone."
        )

    def test_a_new_checkpoint_resets_the_count(self, session: Session) -> None:
        job = acquire_job(session, no_progress_attempts=2)
        checkpoints.record(session, job.id, 1, STORED)
        attempt_outcomes.record_crash(session, job.id, 1, reason="Gone.")
        assert (job.state, job.no_progress_attempts) == ("queued", 1)


class TestOutOfMemory:
    def test_halves_the_micro_batch_until_one(self, session: Session) -> None:
        job = acquire_job(session, resolved_hyperparameters={"batch_size": 5})
        for attempt, size in ((1, 2), (2, 1)):
            attempt_outcomes.retry_with_smaller_batch(session, job.id, attempt, exit_code=11)
            assert (job.state, job.micro_batch_size, job.no_progress_attempts) == (
                "queued",
                size,
                0,
            )
            leases.acquire(session, "w", lease_seconds=60)
        attempt_outcomes.retry_with_smaller_batch(session, job.id, 3, exit_code=11)
        assert (job.state, job.micro_batch_size) == ("queued", 1)

    def run_out(self, session: Session, job: Job, attempt: int) -> JobAssignment | None:
        attempt_outcomes.retry_with_smaller_batch(session, job.id, attempt, exit_code=11)
        return leases.acquire(session, "w", lease_seconds=60)

    def test_one_example_goes_on_with_gradient_checkpointing_once(self, session: Session) -> None:
        job = acquire_job(session, micro_batch_size=1, resolved_hyperparameters={"batch_size": 5})
        assignment = self.run_out(session, job, 1)
        assert assignment is not None
        assert (assignment.micro_batch_size, assignment.hyperparameters["batch_size"]) == (1, 5)
        assert assignment.hyperparameters["gradient_checkpointing"] is True
        message = session.scalars(
            select(JobEvent.message).where(JobEvent.level == "warn", JobEvent.job_id == job.id)
        ).one()
        assert "gradient checkpointing" in message
        # A trainer of the previous version does not report it.
        progress.record_started(session, job.id, 2, hyperparameters={}, total_steps=9)
        assert self.run_out(session, job, 2) is None
        assert (job.state, job.error_code) == ("failed", "out_of_memory")

    @pytest.mark.parametrize(
        "changes",
        [
            {"hyperparameters": {"gradient_checkpointing": False}},
            {"hyperparameters": {"gradient_checkpointing": True}},
            {"method": "classification"},
        ],
    )
    def test_one_example_fails_without_that_choice(
        self, session: Session, changes: dict[str, Any]
    ) -> None:
        job = acquire_job(session, micro_batch_size=1, **changes)
        assert self.run_out(session, job, 1) is None
        assert (job.state, job.error_code) == ("failed", "out_of_memory")


class TestDivergence:
    FAILURE = JobFailure("training_diverged", "Training diverged.", "learning_rate_multiplier")

    def diverge(self, session: Session, job: Job, attempt: int, *, last_good_step: int) -> None:
        attempt_outcomes.restart_at_smaller_rate(
            session,
            job.id,
            attempt,
            self.FAILURE,
            last_good_step=last_good_step,
            exit_code=15,
        )

    def test_restarts_twice_at_a_third_of_the_rate_and_then_fails(self, session: Session) -> None:
        job = acquire_job(
            session,
            hyperparameters={"learning_rate_multiplier": "auto"},
            resolved_hyperparameters={"learning_rate_multiplier": 1.0},
        )
        for attempt, rate in ((1, 0.333), (2, 0.111)):
            self.diverge(session, job, attempt, last_good_step=0)
            assert job.state == "queued"
            assignment = leases.acquire(session, "w", lease_seconds=60)
            assert assignment is not None
            assert assignment.hyperparameters["learning_rate_multiplier"] == rate
        self.diverge(session, job, 3, last_good_step=0)
        assert (job.state, job.error_code, job.error_param) == (
            "failed",
            "training_diverged",
            "learning_rate_multiplier",
        )

    def test_continues_from_the_last_good_checkpoint(self, session: Session) -> None:
        job = acquire_job(
            session, resolved_hyperparameters={"learning_rate_multiplier": 1.0}, total_steps=9
        )
        for step in (2, 4, 6):
            stored = replace(STORED, step=step, prefix=f"p{step}")
            checkpoints.record(session, job.id, 1, stored)
        self.diverge(session, job, 1, last_good_step=5)
        assert [row.step for row in checkpoints.list_resumable(session, job.id)] == [4, 2]
        models = session.scalars(
            select(FineTunedModel.step).where(FineTunedModel.deleted_at.is_(None))
        )
        assert sorted(models) == [2, 4]
        message = session.scalars(
            select(JobEvent.message).order_by(JobEvent.seq.desc()).limit(1)
        ).one()
        assert "from the checkpoint at step 4 with a learning_rate_multiplier of 0.333" in message

    def test_steps_that_are_trained_again_are_reported_and_served(self, session: Session) -> None:
        job = acquire_job(
            session, resolved_hyperparameters={"learning_rate_multiplier": 1.0}, total_steps=9
        )

        def train(attempt: int, loss: float, first_step: int) -> None:
            for step in range(first_step, 7):
                metrics = progress.StepMetrics(step, {"train_loss": loss})
                progress.record_metrics(session, job.id, attempt, [metrics])
                if step % 2 == 0:
                    stored = replace(STORED, step=step, prefix=f"p{attempt}-{step}")
                    checkpoints.record(session, job.id, attempt, stored)

        train(1, 8.0, first_step=1)
        names = set(session.scalars(select(FineTunedModel.name)))
        self.diverge(session, job, 1, last_good_step=5)
        assert leases.acquire(session, "w", lease_seconds=60) is not None
        train(2, 3.0, first_step=5)
        session.expire_all()
        served = session.scalars(select(FineTunedModel).where(FineTunedModel.deleted_at.is_(None)))
        prefixes = {model.name: model.storage_prefix for model in served}
        assert sorted(prefixes.values()) == ["p1-2", "p1-4", "p2-6"]
        # A name never stands for other weights than those that a client has seen under it.
        (new_name,) = prefixes.keys() - names
        messages = session.scalars(select(JobEvent.message).order_by(JobEvent.seq)).all()
        repeated = messages[messages.index("Step 6/9: training loss=8.00") :]
        assert repeated.count("Step 5/9: training loss=3.00") == 1
        assert repeated[-2:] == [
            "Step 6/9: training loss=3.00",
            f"Checkpoint created at step 6 with Snapshot ID: {new_name}",
        ]

    def test_a_learning_rate_that_the_owner_chose_is_kept(self, session: Session) -> None:
        job = acquire_job(
            session,
            hyperparameters={"learning_rate_multiplier": 2.0},
            resolved_hyperparameters={"learning_rate_multiplier": 2.0},
        )
        self.diverge(session, job, 1, last_good_step=0)
        assert (job.state, job.error_code) == ("failed", "training_diverged")


def test_postpone_delays_without_counting_a_crash(session: Session) -> None:
    job = acquire_job(session)
    attempt_outcomes.postpone(session, job.id, 1, reason="The storage could not be used.")
    assert (job.state, job.no_progress_attempts) == ("queued", 0)
    assert get_seconds_until_due(session, job) > 20


class TestExpiredLeases:
    def test_requeues_a_job_whose_lease_expired(self, session: Session) -> None:
        job = acquire_job(session)
        assert lease_expiry.find_expired_leases(session) == []
        assert not lease_expiry.expire_lease(session, job.id)
        session.get_one(JobLease, job.id).lease_until -= timedelta(seconds=61)
        assert lease_expiry.find_expired_leases(session) == [job.id]
        assert lease_expiry.expire_lease(session, job.id)
        assert (job.state, get_attempt(session, job).outcome) == ("queued", "lost")
        assert get_seconds_until_due(session, job) <= 0

    def test_requeues_a_dead_trainers_jobs_before_their_leases_expire(
        self, session: Session
    ) -> None:
        job = acquire_job(session)
        assert lease_expiry.reclaim_from_dead_trainer(session, "another") == []
        worker = session.get_one(JobLease, job.id).trainer
        assert lease_expiry.reclaim_from_dead_trainer(session, worker) == [job.id]
        assert (job.state, get_attempt(session, job).outcome) == ("queued", "lost")
        assert lease_expiry.reclaim_from_dead_trainer(session, worker) == []

    def test_a_lost_trainer_counts_as_a_crash(self, session: Session) -> None:
        job = acquire_job(session, no_progress_attempts=2)
        session.get_one(JobLease, job.id).lease_until -= timedelta(seconds=61)
        lease_expiry.expire_lease(session, job.id)
        assert (job.state, job.error_code) == ("failed", "worker_crashed_repeatedly")

    @pytest.mark.parametrize(("state", "after"), [("finalizing", "queued"), ("pausing", "paused")])
    def test_applies_in_every_held_state(self, session: Session, state: str, after: str) -> None:
        job = acquire_job(session)
        job.state = state
        session.get_one(JobLease, job.id).lease_until -= timedelta(seconds=61)
        lease_expiry.expire_lease(session, job.id)
        assert job.state == after
