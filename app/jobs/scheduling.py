"""Whose job is next: projects take turns, however long their queues are.

Of the projects with a job that is due, the one with the fewest jobs at work comes first, and of
those the one that was served the longest ago. Within a project it goes by priority, then by age.

A project's row is locked while one of its jobs is taken, so that two workers cannot pass its limit
together. A project that another worker is just taking from is skipped, and waited for only where
there is no other: that takes as long as one claim does, which is milliseconds.
"""

from sqlalchemy import ScalarSelect, Select, func, or_, select, true, update
from sqlalchemy.orm import Session

from app.db.tables import Job, Project
from app.jobs import states


def lock_next_project(session: Session, *, max_running: int) -> str | None:
    """Lock the project whose turn it is; None if no project has a job that may run now.

    `max_running` is for projects without a limit of their own; 0 is no limit. What it finds may be
    outdated by the time it holds the lock: `next_job` looks again.
    """
    for skip_locked in (True, False):
        project_id = _try_lock_next_project(session, max_running, skip_locked=skip_locked)
        if project_id is not None:
            return project_id
    return None


def _try_lock_next_project(session: Session, max_running: int, *, skip_locked: bool) -> str | None:
    # Limited and in the index's order: what is not may be planned as a look at all jobs.
    due = _select_first_due_job().where(Job.project_id == Project.id).lateral("due")
    running = (
        select(func.count().label("count"))
        .where(Job.project_id == Project.id, Job.state.in_(states.HELD_STATES))
        .lateral("running")
    )
    limit = func.coalesce(Project.max_running_jobs, max_running)
    statement = (
        select(Project.id)
        .join(due, true())
        .join(running, true())
        .where(or_(limit == 0, running.c.count < limit))
        .order_by(running.c.count, Project.last_served_at.asc().nulls_first(), Project.id)
        .limit(1)
        # Not FOR UPDATE: that would wait for whoever adds a job or a file to the project.
        .with_for_update(of=Project, key_share=True, skip_locked=skip_locked)
    )
    return session.scalar(statement)


def select_next_job(project_id: str, *, max_running: int) -> ScalarSelect[str]:
    """The job of a locked project that is next, if its limit leaves room, as a subquery."""
    limit = (
        select(func.coalesce(Project.max_running_jobs, max_running))
        .where(Project.id == project_id)
        .scalar_subquery()
    )
    running = (
        select(func.count())
        .where(Job.project_id == project_id, Job.state.in_(states.HELD_STATES))
        .scalar_subquery()
    )
    return (
        _select_first_due_job()
        .where(Job.project_id == project_id, or_(limit == 0, running < limit))
        # A row that its owner is just pausing or cancelling is skipped, not waited for.
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )


def mark_served(session: Session, project_id: str) -> None:
    """Note that a project has had its turn."""
    session.execute(
        update(Project)
        .where(Project.id == project_id)
        .values(last_served_at=func.clock_timestamp())
        .execution_options(synchronize_session=False)
    )


def _select_first_due_job() -> Select[str]:
    """The first job that is due, of the project that the caller adds."""
    return (
        select(Job.id)
        .where(Job.state == "queued", Job.run_after <= func.clock_timestamp())
        .order_by(Job.priority.desc(), Job.created_at, Job.id)
        .limit(1)
    )
