"""The states of a job and the only way to change them.

Every move is one UPDATE that compares and sets: it names the states it may start from and, for a
worker's moves, the epoch that the worker claimed. Of two moves that race, one finds no row.
"""

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import ScalarSelect, delete, func, select, update
from sqlalchemy.orm import Session

from app.db.tables import TERMINAL_STATES, Job, JobAttempt, JobLease
from app.webhooks import deliveries

TRANSITIONS: Mapping[str, frozenset[str]] = {
    "validating_files": frozenset({"queued", "failed", "cancelled"}),
    "queued": frozenset({"running", "paused", "failed", "cancelled"}),
    "running": frozenset({"queued", "pausing", "finalizing", "failed", "cancelled"}),
    "pausing": frozenset({"paused", "finalizing", "failed", "cancelled"}),
    "paused": frozenset({"queued", "cancelled"}),
    "finalizing": frozenset({"queued", "succeeded", "failed", "cancelled"}),
    "succeeded": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}
# A worker holds the job.
HELD_STATES = ("running", "pausing", "finalizing")


class LeaseLost(Exception):
    """The attempt no longer owns its job: the job was cancelled, has ended or is another's."""


def allowed_sources(to: str) -> list[str]:
    """The states from which a job may move to `to`."""
    return [state for state, targets in TRANSITIONS.items() if to in targets]


def transition(
    session: Session,
    job_id: str | ScalarSelect[str],
    *,
    to: str,
    by_attempt: int | None = None,
    only_from: Collection[str] | None = None,
    **changes: Any,
) -> Job | None:
    """Move a job; its row, locked until the transaction ends, or None if the move is not legal now.

    A move that ends the job is what webhooks tell of: none can be made without its deliveries.
    `held_at` is the epoch of a worker: the move is then legal only while it holds the job.
    """
    legal = [state for state in allowed_sources(to) if only_from is None or state in only_from]
    statement = update(Job).where(Job.id == job_id, Job.state.in_(legal))
    if by_attempt is not None:
        statement = statement.where(Job.epoch == by_attempt, Job.state.in_(HELD_STATES))
    statement = statement.values(state=to, version=Job.version + 1, **changes).returning(Job)
    # The session may know an older state of this row.
    fresh = {"populate_existing": True}
    job = session.scalars(statement, execution_options=fresh).one_or_none()
    if job is not None and to in TERMINAL_STATES:
        deliveries.enqueue_for_job(session, job)
    return job


def lock_owned(session: Session, job_id: str, attempt: int) -> Job:
    """The job's row, locked, for an effect of the attempt `epoch`. Raises Fenced."""
    statement = (
        select(Job)
        .where(Job.id == job_id, Job.epoch == attempt, Job.state.in_(HELD_STATES))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    job = session.scalars(statement).one_or_none()
    if job is None:
        raise LeaseLost(f"{job_id} is no longer held at epoch {attempt}")
    return job


def end_attempt(
    session: Session, job_id: str, *, outcome: str, exit_code: int | None = None
) -> None:
    """Take the lease away and close the open attempt, if there are any."""
    session.execute(delete(JobLease).where(JobLease.job_id == job_id))
    session.execute(
        update(JobAttempt)
        .where(JobAttempt.job_id == job_id, JobAttempt.ended_at.is_(None))
        .values(ended_at=func.clock_timestamp(), outcome=outcome, exit_code=exit_code)
    )
