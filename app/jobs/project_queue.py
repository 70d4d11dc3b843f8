"""Unfinished jobs of a project by state, and its quotas."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.tables import TERMINAL_STATES, Job, JobState, Project
from app.jobs import states
from app.jobs.scheduling import QUEUE_STATES


@dataclass(frozen=True, slots=True)
class ProjectQueue:
    """Numbers of a project's unfinished jobs. A quota of 0 is unlimited."""

    counts: Mapping[JobState, int]
    max_queued: int
    max_running: int

    @property
    def queued(self) -> int:
        return self._count(QUEUE_STATES)

    @property
    def running(self) -> int:
        return self._count(states.HELD_STATES)

    @property
    def has_queue_room(self) -> bool:
        return not self.max_queued or self.queued < self.max_queued

    @property
    def may_start(self) -> bool:
        """True if the quota of running jobs permits one more."""
        return not self.max_running or self.running < self.max_running

    def _count(self, counted: Collection[JobState]) -> int:
        return sum(self.counts.get(state, 0) for state in counted)


def find_project_queue(
    session: Session, project_id: str, *, max_queued: int, max_running: int
) -> ProjectQueue:
    """Count a project's unfinished jobs. The quotas are those of projects without their own."""
    rows = session.execute(
        select(Job.state, func.count())
        .where(Job.project_id == project_id, Job.state.not_in(TERMINAL_STATES))
        .group_by(Job.state)
    )
    counts: dict[JobState, int] = dict(rows.all())
    quotas = select(
        func.coalesce(Project.max_queued_jobs, max_queued),
        func.coalesce(Project.max_running_jobs, max_running),
    ).where(Project.id == project_id)
    return ProjectQueue(counts, *session.execute(quotas).one())
