"""How many jobs a project may have in the queue. How many may run at a time: see `fairness`."""

from sqlalchemy import ScalarSelect, func, select
from sqlalchemy.orm import Session

from app.db.tables import Job, Project
from app.errors import TooManyQueuedJobs

QUEUE_STATES = ("validating_files", "queued")


def check_queue_quota(session: Session, project_id: str, *, default: int) -> None:
    """Have room for one more job in a project's queue, until the transaction ends.

    `default` is for projects without a limit of their own; 0 is no limit. Raises TooManyJobs.
    """
    own = select(Project.max_queued_jobs).where(Project.id == project_id)
    limit = session.scalar(select(func.coalesce(own.scalar_subquery(), default))) or 0
    if limit == 0:
        return
    # Of two requests for the last place one waits here, and then counts the other's job.
    name = f"queue\n{project_id}"
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))
    # Apart, since each state has an index of its own.
    waiting = [_count_up_to(project_id, state, limit) for state in QUEUE_STATES]
    if (session.scalar(select(waiting[0] + waiting[1])) or 0) >= limit:
        raise TooManyQueuedJobs(
            f"{limit} jobs of this project wait already, and that is the most it may have in the "
            "queue. Try again when one has started, or cancel one."
        )


def _count_up_to(project_id: str, state: str, most: int) -> ScalarSelect[int]:
    some = select(Job.id).where(Job.project_id == project_id, Job.state == state).limit(most)
    return select(func.count()).select_from(some.subquery()).scalar_subquery()


def set_limits(
    session: Session,
    project_id: str,
    *,
    max_running: int | None = None,
    max_queued: int | None = None,
) -> Project | None:
    """Give a project limits of its own; None leaves one as it was. None if there is none such."""
    project = session.get(Project, project_id)
    if project is None:
        return None
    if max_running is not None:
        project.max_running_jobs = max_running
    if max_queued is not None:
        project.max_queued_jobs = max_queued
    session.flush()
    return project
