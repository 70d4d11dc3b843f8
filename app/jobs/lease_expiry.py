"""Lease expiry: reclaim jobs from trainers that send no heartbeats or are known to be dead."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from app.db.tables import AttemptOutcome, Job, JobLease
from app.jobs import attempt_outcomes, states

# Expired leases handled per run of the periodic task.
BATCH_SIZE = 100


def find_expired_leases(session: Session) -> Sequence[str]:
    """List the jobs whose lease has expired: their trainers sent no heartbeat in time."""
    held = _select_leased().where(_is_expired()).order_by(JobLease.lease_until).limit(BATCH_SIZE)
    return session.scalars(held.with_only_columns(Job.id)).all()


def expire_lease(session: Session, job_id: str) -> bool:
    """Requeue a job if its lease is still expired; return true if it was."""
    # A concurrent heartbeat either renews the lease first, or finds it gone.
    statement = (
        _select_leased().where(Job.id == job_id, _is_expired()).with_for_update(skip_locked=True)
    )
    job = session.scalars(statement).one_or_none()
    if job is None:
        return False
    attempt_outcomes.retry_or_fail(
        session, job, outcome=AttemptOutcome.LOST, reason="Lost contact with the trainer."
    )
    return True


def reclaim_from_dead_trainer(session: Session, trainer: str) -> list[str]:
    """Requeue the jobs of a trainer that is known to be dead; return their ids."""
    jobs = session.scalars(
        _select_leased().where(JobLease.trainer == trainer).with_for_update()
    ).all()
    for job in jobs:
        attempt_outcomes.retry_or_fail(
            session, job, outcome=AttemptOutcome.LOST, reason="The trainer died."
        )
    return [job.id for job in jobs]


def _select_leased() -> Select[Job]:
    """Select the jobs that are held under a lease; FOR UPDATE locks both rows."""
    held = select(Job).join(JobLease, JobLease.job_id == Job.id)
    return held.where(Job.state.in_(states.HELD_STATES)).execution_options(populate_existing=True)


def _is_expired() -> ColumnElement[bool]:
    return JobLease.lease_until < func.clock_timestamp()
