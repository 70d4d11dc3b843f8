"""What becomes of a job when an attempt ends, and that a fenced attempt changes nothing at all."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.db.base import Base
from app.db.tables import Job, JobAttempt, JobEvent, JobLease, Outbox
from app.jobs import attempts, checkpoints, leases, lifecycle, progress, success
from app.jobs.file_checks import JobFailure
from app.jobs.states import LeaseLost
from tests.factories import make_job


def hold(session: Session, **changes: object) -> Job:
    """A job that a worker has just claimed."""
    job = make_job(session, **changes)
    assert leases.acquire(session, "w", lease_seconds=60) is not None
    return job


def attempt(session: Session, job: Job) -> JobAttempt:
    return session.get_one(JobAttempt, (job.id, job.epoch), populate_existing=True)


def waits(session: Session, job: Job) -> float:
    """Seconds from the end of the job's attempt until it is due again."""
    pause = Job.run_after - JobAttempt.ended_at
    ended = (JobAttempt.job_id == Job.id) & (JobAttempt.epoch == Job.epoch)
    found = session.scalars(select(pause).join(JobAttempt, ended).where(Job.id == job.id)).one()
    return found.total_seconds()


STORED = checkpoints.StoredCheckpoint(
    step=2, servable=True, prefix="p", manifest_sha256="m", bytes=1, metrics={}
)
RESULT = success.ResultFile(file_id="file-r", key="k", bytes=1, sha256="s")
EFFECTS: dict[str, Callable[[Session, str, int], object]] = {
    "started": lambda session, job_id, epoch: progress.record_started(
        session, job_id, epoch, hyperparameters={"n_epochs": 9}, total_steps=9
    ),
    "metrics": lambda session, job_id, epoch: progress.record_metrics(
        session, job_id, epoch, [progress.StepMetrics(1, {"train_loss": 1.0})], seconds_left=5
    ),
    "checkpoint": lambda session, job_id, epoch: checkpoints.record(session, job_id, epoch, STORED),
    "finalize": success.finalize,
    "succeed": lambda session, job_id, epoch: success.succeed(
        session, job_id, epoch, trained_tokens=1, result=RESULT
    ),
    "yielded": attempts.yield_job,
    "postponed": lambda session, job_id, epoch: attempts.postpone(
        session, job_id, epoch, reason="Away."
    ),
    "crashed": lambda session, job_id, epoch: attempts.record_crash(
        session, job_id, epoch, reason="Gone."
    ),
    "out_of_memory": lambda session, job_id, epoch: attempts.retry_with_smaller_batch(
        session, job_id, epoch, exit_code=11
    ),
    "failed": lambda session, job_id, epoch: attempts.fail(
        session, job_id, epoch, JobFailure("a", "b")
    ),
}


def everything(session: Session) -> dict[str, list[tuple[object, ...]]]:
    """All rows of all tables."""
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


@pytest.mark.parametrize("name", EFFECTS)
@pytest.mark.parametrize("held_by", ["the next attempt", "nobody", "an ended job"])
def test_no_effect_of_a_fenced_attempt_leaves_a_trace(
    session: Session, name: str, held_by: str
) -> None:
    job = hold(session)
    if held_by == "an ended job":
        lifecycle.cancel(session, job.project_id, job.id)
    else:
        attempts.yield_job(session, job.id, 1)
    if held_by == "the next attempt":
        assert leases.acquire(session, "other", lease_seconds=60) is not None
    before = everything(session)
    with pytest.raises(LeaseLost):
        EFFECTS[name](session, job.id, 1)
    assert everything(session) == before


class TestYielded:
    def test_the_job_is_queued_again_at_once_and_not_blamed(self, session: Session) -> None:
        job = hold(session, no_progress_attempts=2)
        attempts.yield_job(session, job.id, 1, exit_code=75)
        assert (job.state, job.no_progress_attempts) == ("queued", 2)
        assert waits(session, job) <= 0
        assert (attempt(session, job).outcome, attempt(session, job).exit_code) == ("yielded", 75)
        assert session.get(JobLease, job.id) is None
        assert session.scalars(select(Outbox.payload)).one()["task"] == "train"

    def test_a_paused_one_stays(self, session: Session) -> None:
        job = hold(session)
        lifecycle.pause(session, job.project_id, job.id)
        attempts.yield_job(session, job.id, 1)
        assert job.state == "paused"
        assert session.scalars(select(Outbox)).all() == []


class TestCrashed:
    def test_the_job_is_tried_again_at_once(self, session: Session) -> None:
        job = hold(session)
        attempts.record_crash(session, job.id, 1, reason="Gone.", exit_code=-11)
        assert (job.state, job.no_progress_attempts) == ("queued", 1)
        assert waits(session, job) <= 0
        assert attempt(session, job).outcome == "crashed"
        event = session.scalars(select(JobEvent).order_by(JobEvent.seq.desc()).limit(1)).one()
        assert (event.level, event.message) == ("warn", "Gone. The job is tried again.")

    def test_the_second_time_it_waits(self, session: Session) -> None:
        job = hold(session, no_progress_attempts=1)
        attempts.record_crash(session, job.id, 1, reason="Gone.", exit_code=-11)
        assert (job.state, job.no_progress_attempts) == ("queued", 2)
        assert 4 < waits(session, job) <= 15

    def test_the_third_time_is_the_last(self, session: Session) -> None:
        job = hold(session, no_progress_attempts=2)
        attempts.record_crash(session, job.id, 1, reason="Gone.", exit_code=-11)
        assert (job.state, job.error_code) == ("failed", "worker_crashed_repeatedly")
        assert job.error_message == (
            "Training ended 3 times without reaching a new checkpoint. Gone."
        )

    def test_a_new_checkpoint_is_a_new_start(self, session: Session) -> None:
        job = hold(session, no_progress_attempts=2)
        checkpoints.record(session, job.id, 1, STORED)
        attempts.record_crash(session, job.id, 1, reason="Gone.")
        assert (job.state, job.no_progress_attempts) == ("queued", 1)


class TestOutOfMemory:
    def test_the_micro_batch_halves_from_the_batch_down(self, session: Session) -> None:
        job = hold(session, resolved={"batch_size": 5})
        for epoch, rows in ((1, 2), (2, 1)):
            attempts.retry_with_smaller_batch(session, job.id, epoch, exit_code=11)
            assert (job.state, job.micro_batch, job.no_progress_attempts) == ("queued", rows, 0)
            leases.acquire(session, "w", lease_seconds=60)
        attempts.retry_with_smaller_batch(session, job.id, 3, exit_code=11)
        assert (job.state, job.error_code) == ("failed", "out_of_memory")


def test_a_postponed_job_is_not_blamed_and_waits(session: Session) -> None:
    job = hold(session)
    attempts.postpone(session, job.id, 1, reason="The storage could not be used.")
    assert (job.state, job.no_progress_attempts) == ("queued", 0)
    assert waits(session, job) > 20


class TestExpiredLeases:
    def test_a_silent_workers_job_is_queued_again(self, session: Session) -> None:
        job = hold(session)
        assert attempts.find_expired_leases(session) == []
        assert not attempts.expire_lease(session, job.id)
        session.get_one(JobLease, job.id).lease_until -= timedelta(seconds=61)
        assert attempts.find_expired_leases(session) == [job.id]
        assert attempts.expire_lease(session, job.id)
        assert (job.state, attempt(session, job).outcome) == ("queued", "lost")
        assert waits(session, job) <= 0

    def test_a_dead_workers_jobs_are_queued_before_their_leases_end(self, session: Session) -> None:
        job = hold(session)
        assert attempts.reclaim_from_dead_worker(session, "another") == []
        worker = session.get_one(JobLease, job.id).worker
        assert attempts.reclaim_from_dead_worker(session, worker) == [job.id]
        assert (job.state, attempt(session, job).outcome) == ("queued", "lost")
        assert attempts.reclaim_from_dead_worker(session, worker) == []

    def test_it_counts_as_a_crash(self, session: Session) -> None:
        job = hold(session, no_progress_attempts=2)
        session.get_one(JobLease, job.id).lease_until -= timedelta(seconds=61)
        attempts.expire_lease(session, job.id)
        assert (job.state, job.error_code) == ("failed", "worker_crashed_repeatedly")

    @pytest.mark.parametrize(("state", "after"), [("finalizing", "queued"), ("pausing", "paused")])
    def test_wherever_it_was(self, session: Session, state: str, after: str) -> None:
        job = hold(session)
        job.state = state
        session.get_one(JobLease, job.id).lease_until -= timedelta(seconds=61)
        attempts.expire_lease(session, job.id)
        assert job.state == after
