"""Fair queue of new jobs whose files are to be validated: round robin over projects.

A notification says that some job waits, and this queue decides which: the thousand new jobs of one
project delay another project's by one validation.
"""

import threading
from collections.abc import Sequence

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import Job, JobState


class ValidationQueue:
    """Chooses the next job to validate; one per process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last_project_id = ""

    def lock_next(self, session: Session) -> str | None:
        """Lock the next job and return its id; None if no job waits that no one else validates."""
        with self._lock:
            found = self._find_next(session)
            if found is None:
                return None
            job_id, self._last_project_id = found
            return job_id

    def _find_next(self, session: Session) -> tuple[str, str] | None:
        """Find the oldest job of the project that follows in the round."""
        following = _select_waiting().where(Job.project_id > self._last_project_id)
        for statement in (following, _select_waiting()):
            row = session.execute(statement).one_or_none()
            if row is not None:
                return row.id, row.project_id
        return None


def _select_waiting() -> Select[str, str]:
    return (
        select(Job.id, Job.project_id)
        .where(Job.state == JobState.VALIDATING_FILES)
        .order_by(Job.project_id, Job.created_at, Job.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )


def find_forgotten(session: Session, *, older_than_seconds: float, limit: int) -> Sequence[str]:
    """Find jobs whose notification was lost: the oldest of each project, then the second oldest."""
    place = func.row_number().over(partition_by=Job.project_id, order_by=(Job.created_at, Job.id))
    since = clock.seconds_from_now(-older_than_seconds)
    jobs = (
        select(Job.id)
        .where(Job.state == JobState.VALIDATING_FILES, Job.created_at < since)
        .order_by(place, Job.created_at)
        .limit(limit)
    )
    return session.scalars(jobs).all()
