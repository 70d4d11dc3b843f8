"""How an attempt at a job ends without ending the job: yielded, crashed, lost; and what then."""

import random
from collections.abc import Sequence

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from app.db import clock, outbox
from app.db.tables import Job, JobLease
from app.jobs import events, lifecycle, states
from app.jobs.events import NewEvent
from app.jobs.file_checks import JobFailure

CRASHED_REPEATEDLY = "worker_crashed_repeatedly"
MAX_ATTEMPTS_WITHOUT_PROGRESS = 3
# A job that crashed is tried again at once; if that brings no new checkpoint, once more after this.
RETRY_DELAY_SECONDS = 10
# What the worker lacks does not come back at once.
POSTPONE_DELAY_SECONDS = 30
# Leases that are looked at in one round at most.
BATCH_SIZE = 100


def yield_job(session: Session, job_id: str, attempt: int, *, exit_code: int | None = None) -> None:
    """Give a job back that was stopped at a checkpoint. Raises Fenced."""
    _requeue(session, job_id, attempt, outcome="yielded", exit_code=exit_code)


def postpone(session: Session, job_id: str, attempt: int, *, reason: str) -> None:
    """Give a job back because the worker lacks something that the job is not to blame for.

    Raises Fenced.
    """
    told = NewEvent(f"postponed:{attempt}", f"{reason} The job is tried again.", level="warn")
    _requeue(
        session,
        job_id,
        attempt,
        outcome="postponed",
        event=told,
        delay_seconds=POSTPONE_DELAY_SECONDS,
    )


def record_crash(
    session: Session,
    job_id: str,
    attempt: int,
    *,
    reason: str,
    code: str = CRASHED_REPEATEDLY,
    exit_code: int | None = None,
) -> None:
    """Queue a job again whose training ended in a way nobody foresaw, up to three times in a row.

    `code` is what its error is called after the third time. Raises Fenced.
    """
    job = states.lock_owned(session, job_id, attempt)
    _retry_or_fail(session, job, outcome="crashed", reason=reason, code=code, exit_code=exit_code)


def fail(
    session: Session,
    job_id: str,
    attempt: int,
    failure: JobFailure,
    *,
    exit_code: int | None = None,
) -> None:
    """End a job that no further attempt would help. Raises Fenced."""
    lifecycle.fail(session, job_id, failure, by_attempt=attempt, exit_code=exit_code)


def retry_with_smaller_batch(
    session: Session, job_id: str, attempt: int, *, exit_code: int
) -> None:
    """Queue a job again with half as many examples a forward pass. Raises Fenced."""
    job = states.lock_owned(session, job_id, attempt)
    smaller = _current_micro_batch(job) // 2
    if smaller < 1:
        message = (
            "The accelerator's memory does not hold the model and one example. "
            "Use a smaller base model or shorter examples."
        )
        problem = JobFailure("out_of_memory", message)
        lifecycle.fail(session, job_id, problem, by_attempt=attempt, exit_code=exit_code)
        return
    message = f"Out of memory: training goes on with {smaller} example(s) at a time"
    told = NewEvent(f"memory:{attempt}", message, level="warn")
    job.micro_batch = smaller
    _requeue(session, job_id, attempt, outcome="crashed", exit_code=exit_code, event=told)


def _current_micro_batch(job: Job) -> int:
    """Examples in one forward pass so far, at most."""
    if job.micro_batch is not None:
        return job.micro_batch
    batch = (job.resolved or job.hyperparameters).get("batch_size")
    return batch if isinstance(batch, int) else 1


def find_expired_leases(session: Session) -> Sequence[str]:
    """The jobs whose workers have not been heard of for longer than their leases."""
    held = _select_leased().where(_is_expired()).order_by(JobLease.lease_until).limit(BATCH_SIZE)
    return session.scalars(held.with_only_columns(Job.id)).all()


def expire_lease(session: Session, job_id: str) -> bool:
    """Take a job from its worker, if that is still silent; whether it was."""
    # A heartbeat that comes just now either renews the lease or finds none.
    statement = (
        _select_leased().where(Job.id == job_id, _is_expired()).with_for_update(skip_locked=True)
    )
    job = session.scalars(statement).one_or_none()
    if job is None:
        return False
    _retry_or_fail(session, job, outcome="lost", reason="The trainer was not heard of any more.")
    return True


def reclaim_from_dead_worker(session: Session, worker: str) -> list[str]:
    """Take its jobs, whose ids are returned, from a worker that is known to be dead."""
    jobs = session.scalars(
        _select_leased().where(JobLease.worker == worker).with_for_update()
    ).all()
    for job in jobs:
        _retry_or_fail(session, job, outcome="lost", reason="The trainer died.")
    return [job.id for job in jobs]


def _select_leased() -> Select[Job]:
    """The jobs that workers hold, with their leases: locked, both rows are."""
    held = select(Job).join(JobLease, JobLease.job_id == Job.id)
    return held.where(Job.state.in_(states.HELD_STATES)).execution_options(populate_existing=True)


def _is_expired() -> ColumnElement[bool]:
    return JobLease.lease_until < func.clock_timestamp()


def _retry_or_fail(
    session: Session,
    job: Job,
    *,
    outcome: str,
    reason: str,
    code: str = CRASHED_REPEATEDLY,
    exit_code: int | None = None,
) -> None:
    attempts = job.no_progress_attempts + 1
    if attempts >= MAX_ATTEMPTS_WITHOUT_PROGRESS:
        message = f"Training ended {attempts} times without reaching a new checkpoint. {reason}"
        problem = JobFailure(code, message)
        lifecycle.fail(session, job.id, problem, by_attempt=job.epoch, exit_code=exit_code)
        return
    told = NewEvent(f"again:{job.epoch}", f"{reason} The job is tried again.", level="warn")
    job.no_progress_attempts = attempts
    _requeue(
        session,
        job.id,
        job.epoch,
        outcome=outcome,
        exit_code=exit_code,
        event=told,
        # A lost worker has cost a lease already.
        delay_seconds=0 if outcome == "lost" else _backoff_seconds(attempts),
    )


def _backoff_seconds(attempts: int) -> float:
    if attempts == 1:
        return 0
    # Spread, so that jobs that a fault has thrown out together do not come back together.
    return RETRY_DELAY_SECONDS * random.uniform(0.5, 1.5)


def _requeue(
    session: Session,
    job_id: str,
    attempt: int,
    *,
    outcome: str,
    exit_code: int | None = None,
    event: NewEvent | None = None,
    delay_seconds: float = 0,
) -> None:
    job = states.transition(
        session,
        job_id,
        to="queued",
        by_attempt=attempt,
        run_after=clock.seconds_from_now(delay_seconds),
        estimated_finish=None,
    ) or states.transition(session, job_id, to="paused", by_attempt=attempt, estimated_finish=None)
    if job is None:
        raise states.LeaseLost(f"{job_id} is no longer held at epoch {attempt}")
    states.end_attempt(session, job_id, outcome=outcome, exit_code=exit_code)
    if job.state == "paused":
        event = NewEvent(f"paused:{attempt}", "The job has been paused")
    elif delay_seconds == 0:
        outbox.enqueue_hint(session, "train", job_id)
    events.append(session, job, [] if event is None else [event])
