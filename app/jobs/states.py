"""State machine of a job: its states, the legal transitions, and the only writer of `Job.state`.

    validating_files  its files are being checked against the rules of its method
    queued            due once `run_after` has passed; a trainer may acquire it
    running           a trainer holds its lease and trains
    pausing           its owner asked for a pause; the trainer is storing a checkpoint
    paused            stopped until its owner resumes it
    finalizing        training is complete; the trainer is storing its results
    succeeded         terminal: the fine-tuned model is servable
    failed            terminal: `error` says why
    cancelled         terminal: its owner cancelled it

Each transition is one compare-and-set UPDATE: it names the states it may start from and, for a
trainer, the attempt that must own the job. If two transitions race, one of them matches no row.
A trigger in Postgres rejects any transition out of a terminal state.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row, ScalarSelect, Select, delete, extract, func, select, update
from sqlalchemy.orm import Session

from app.db.tables import (
    TERMINAL_STATES,
    AttemptEnd,
    AttemptOutcome,
    Job,
    JobAttempt,
    JobLease,
    JobMetric,
    JobState,
)
from app.webhooks import deliveries

TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.VALIDATING_FILES: frozenset({JobState.QUEUED, JobState.FAILED, JobState.CANCELLED}),
    JobState.QUEUED: frozenset(
        {JobState.RUNNING, JobState.PAUSED, JobState.FAILED, JobState.CANCELLED}
    ),
    JobState.RUNNING: frozenset(
        {
            JobState.QUEUED,
            JobState.PAUSING,
            JobState.FINALIZING,
            JobState.FAILED,
            JobState.CANCELLED,
        }
    ),
    JobState.PAUSING: frozenset(
        {JobState.PAUSED, JobState.FINALIZING, JobState.FAILED, JobState.CANCELLED}
    ),
    JobState.PAUSED: frozenset({JobState.QUEUED, JobState.CANCELLED}),
    JobState.FINALIZING: frozenset(
        {JobState.QUEUED, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}
    ),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}
# A trainer holds the job's lease.
HELD_STATES = (JobState.RUNNING, JobState.PAUSING, JobState.FINALIZING)


class LeaseLost(Exception):
    """The attempt no longer owns its job, which has ended or was acquired again."""


def list_source_states(to: JobState) -> list[JobState]:
    """List the states with a transition to `to`."""
    return [state for state, targets in TRANSITIONS.items() if to in targets]


def transition(
    session: Session,
    job_id: str | ScalarSelect[str],
    *,
    to: JobState,
    by_attempt: int | None = None,
    only_from: Collection[JobState] | None = None,
    **changes: Any,
) -> Job | None:
    """Change a job's state; return its row, locked until the transaction ends.

    Returns None if the transition is not legal now. `only_from` narrows the states it may start
    from. `by_attempt` is a trainer's fencing token: the transition is then legal only while that
    attempt owns the job. `changes` are further columns to set.

    A transition to a terminal state enqueues the job's webhook deliveries in the same transaction.
    """
    legal = [state for state in list_source_states(to) if only_from is None or state in only_from]
    statement = update(Job).where(Job.id == job_id, Job.state.in_(legal))
    if by_attempt is not None:
        statement = statement.where(Job.attempt == by_attempt, Job.state.in_(HELD_STATES))
    statement = statement.values(state=to, version=Job.version + 1, **changes).returning(Job)
    # The session may hold an older version of this row.
    fresh = {"populate_existing": True}
    job = session.scalars(statement, execution_options=fresh).one_or_none()
    if job is not None and to in TERMINAL_STATES:
        deliveries.enqueue_for_job(session, job)
    return job


def lock_for_attempt(session: Session, job_id: str, attempt: int) -> Job:
    """Lock a job's row for a write by the attempt that owns it.

    Every write by a trainer starts with this check of its fencing token. Raises LeaseLost.
    """
    statement = (
        select(Job)
        .where(Job.id == job_id, Job.attempt == attempt, Job.state.in_(HELD_STATES))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    job = session.scalars(statement).one_or_none()
    if job is None:
        raise LeaseLost(f"{job_id} is no longer owned by attempt {attempt}")
    return job


def end_attempt(
    session: Session,
    job_id: str,
    *,
    outcome: AttemptOutcome,
    exit_code: int | None = None,
    message: str | None = None,
    end_reason: AttemptEnd | None = None,
) -> None:
    """Delete the job's lease, record the outcome of its open attempt, if any, and add its time.

    `message` is a sentence for the owner, `end_reason` what the outcome does not say.

    The caller's transaction holds the lock on the job's row, as after `transition`.
    """
    ended = delete(JobLease).where(JobLease.job_id == job_id)
    lease = session.execute(
        ended.returning(JobLease.heartbeat_at, JobLease.step, JobLease.attempt)
    ).one_or_none()
    held_until = None if lease is None else lease.heartbeat_at
    reached_step = None if lease is None else _find_reached_step(session, job_id, lease)
    # Time after the last heartbeat of a lost attempt was not spent on the job.
    is_lost = outcome is AttemptOutcome.LOST and held_until is not None
    ended_at = held_until if is_lost else func.clock_timestamp()
    held = func.greatest(extract("epoch", ended_at - JobAttempt.started_at), 0)
    seconds = session.scalar(
        update(JobAttempt)
        .where(JobAttempt.job_id == job_id, JobAttempt.ended_at.is_(None))
        .values(
            ended_at=func.clock_timestamp(),
            outcome=outcome,
            exit_code=exit_code,
            message=message,
            end_reason=end_reason,
            reached_step=reached_step,
            uncharged_seconds=held,
        )
        .returning(JobAttempt.uncharged_seconds)
        .execution_options(synchronize_session=False)
    )
    if seconds is not None:
        session.execute(
            update(Job)
            .where(Job.id == job_id)
            .values(trained_seconds=Job.trained_seconds + seconds)
            .execution_options(synchronize_session=False)
        )


def _find_reached_step(session: Session, job_id: str, lease: Row[datetime, int, int]) -> int:
    """The last step that the attempt of an ended lease has reported."""
    last = session.scalar(select_metrics_step(job_id, lease.attempt)) or 0
    step: int = lease.step
    return max(step, last)


def select_metrics_step(job_id: str, attempt: int) -> Select[int | None]:
    """Select the last step of which an attempt has reported metrics."""
    return select(func.max(JobMetric.step)).where(
        JobMetric.job_id == job_id, JobMetric.attempt == attempt
    )
