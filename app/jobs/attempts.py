"""Attempts at a job, as its owner sees them: where, how far, why they ended, and their logs."""

from collections.abc import Sequence

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, undefer

from app.db import pagination
from app.db.pagination import Page
from app.db.tables import AttemptEnd, AttemptOutcome, JobAttempt
from app.jobs import service, states

END_BY_OUTCOME = {
    AttemptOutcome.DONE: AttemptEnd.SUCCEEDED,
    AttemptOutcome.YIELDED: AttemptEnd.YIELDED,
    AttemptOutcome.POSTPONED: AttemptEnd.POSTPONED,
    AttemptOutcome.CANCELLED: AttemptEnd.CANCELLED,
    AttemptOutcome.FAILED: AttemptEnd.FAILED,
    AttemptOutcome.CRASHED: AttemptEnd.CRASHED,
    AttemptOutcome.DIVERGED: AttemptEnd.DIVERGED,
    AttemptOutcome.LOST: AttemptEnd.LOST,
}


def build_id(job_id: str, attempt: int) -> str:
    """Build the id of an attempt, by which a list continues."""
    return f"{job_id}-{attempt}"


def list_attempts(
    session: Session, project_id: str, job_id: str, *, after: str | None, limit: int
) -> Page[JobAttempt]:
    """List a page of a job's attempts, newest first, with their logs. Raises NotFound."""
    service.get(session, project_id, job_id)
    of_job: Select[JobAttempt] = select(JobAttempt).where(JobAttempt.job_id == job_id)
    if after is not None:
        number = _parse_id(job_id, after)
        cursor_rows = of_job.where(JobAttempt.attempt == number)
        if number is None or pagination.find_cursor_row(session, cursor_rows) is None:
            return pagination.EMPTY_PAGE
        of_job = of_job.where(JobAttempt.attempt < number)
    newest_first = of_job.order_by(JobAttempt.attempt.desc()).options(undefer(JobAttempt.log_tail))
    return pagination.fetch_page(session, newest_first, limit=limit)


def _parse_id(job_id: str, id: str) -> int | None:
    number = id.removeprefix(f"{job_id}-")
    is_own = number != id and number.isascii() and number.isdecimal()
    return int(number) if is_own and len(number) < 18 else None


def find_open_steps(session: Session, rows: Sequence[JobAttempt]) -> dict[int, int | None]:
    """Find the step that each open one of these attempts at a job has reached so far."""
    found = {}
    for row in rows:
        # A job has one open attempt at most.
        if row.ended_at is None:
            found[row.attempt] = session.scalar(states.select_metrics_step(row.job_id, row.attempt))
    return found


def find_end(row: JobAttempt) -> AttemptEnd | None:
    """Find why an attempt ended; None while it is open."""
    if row.end_reason is not None or row.outcome is None:
        return row.end_reason
    is_killed = row.exit_code is not None and row.exit_code < 0
    if row.outcome is AttemptOutcome.CRASHED and is_killed:
        return AttemptEnd.KILLED
    # An outcome of a newer version is none of these.
    return END_BY_OUTCOME.get(row.outcome, AttemptEnd.FAILED)


def record_log(session: Session, job_id: str, attempt: int, tail: str) -> None:
    """Keep the tail of an attempt's log. Raises LeaseLost."""
    states.lock_for_attempt(session, job_id, attempt)
    session.get_one(JobAttempt, (job_id, attempt)).log_tail = tail
