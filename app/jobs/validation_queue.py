"""Fair queue of new jobs whose files are to be validated: round robin over projects.

A notification says that some job waits, and this queue decides which: the thousand new jobs of one
project delay another project's by one validation. A validation that needs more than one
transaction claims its job for some seconds: until `run_after`, nobody else validates it.
"""

import threading
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import Job, JobState


class ValidationQueue:
    """Chooses the next job to validate; one per process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last_project_id = ""

    def lock_next(self, session: Session, *, except_methods: Sequence[str] = ()) -> str | None:
        """Lock the next job and return its id; None if no job waits that no one else validates."""
        with self._lock:
            found = self._find_next(session, except_methods)
            if found is None:
                return None
            job_id, self._last_project_id = found
            return job_id

    def _find_next(self, session: Session, except_methods: Sequence[str]) -> tuple[str, str] | None:
        """Find the oldest job of the project that follows in the round."""
        waiting = _select_waiting(except_methods)
        for statement in (waiting.where(Job.project_id > self._last_project_id), waiting):
            row = session.execute(statement).one_or_none()
            if row is not None:
                return row.id, row.project_id
        return None


def claim(session: Session, job_id: str, *, seconds: float) -> None:
    """Keep others from validating a job, until it is validated or this time has passed."""
    job = session.get(Job, job_id, with_for_update=True, populate_existing=True)
    if job is not None and job.state == JobState.VALIDATING_FILES:
        job.run_after = clock.now(session) + timedelta(seconds=seconds)


def _select_waiting(except_methods: Sequence[str]) -> Select[str, str]:
    return (
        select(Job.id, Job.project_id)
        .where(
            Job.state == JobState.VALIDATING_FILES,
            Job.run_after <= func.clock_timestamp(),
            Job.method.not_in(except_methods),
        )
        .order_by(Job.project_id, Job.created_at, Job.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )


def find_forgotten(
    session: Session,
    *,
    older_than_seconds: float,
    limit: int,
    slow_methods: Sequence[str] = (),
    slow_older_than_seconds: float = 0,
) -> Sequence[str]:
    """Find jobs whose notification was lost: the oldest of each project, then the second oldest.

    Jobs of `slow_methods` take longer to validate: they are found only after more time.
    """
    place = func.row_number().over(partition_by=Job.project_id, order_by=(Job.created_at, Job.id))
    since = clock.seconds_from_now(-older_than_seconds)
    slow_since = clock.seconds_from_now(-slow_older_than_seconds)
    jobs = (
        select(Job.id)
        .where(
            Job.state == JobState.VALIDATING_FILES,
            Job.created_at < since,
            or_(Job.method.not_in(slow_methods), Job.created_at < slow_since),
            Job.run_after <= func.clock_timestamp(),
        )
        .order_by(place, Job.created_at)
        .limit(limit)
    )
    return session.scalars(jobs).all()
