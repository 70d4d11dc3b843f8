"""Fair queue: choice of the next job across projects; quotas of running and queued jobs.

Among the projects with a due job, the one with the fewest running jobs comes first; ties go to the
one with the least trained time, then to the one served least recently. Within a project, jobs are
ordered by priority, then age.

The trained time is that of start-time fair queuing: a project that had no job for a while is set
forward to the time of the project served last, so that being idle saves up no claim to trainers.
Nor does it lie back by more than MAX_CLAIM_SECONDS behind the project with the most time: hours
that one trained while no other waited must not keep it from trainers for as long afterwards.
`app.jobs.time_slices` requests trainers back from projects that have had more than others.

A project's row is locked while one of its jobs is acquired, so that two trainers cannot exceed its
quota together. A project locked by another trainer is skipped, and waited for only if no other
project qualifies: an acquisition takes milliseconds.
"""

from collections.abc import Sequence

from sqlalchemy import (
    ColumnElement,
    FromClause,
    ScalarSelect,
    Select,
    extract,
    func,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.orm import Session, aliased

from app.db.tables import Job, JobAttempt, JobState, Project
from app.errors import TooManyQueuedJobs
from app.jobs import states

# Four time slices by default: long enough to even out what jobs with long steps had too much.
MAX_CLAIM_SECONDS = 3600.0
QUEUE_STATES = (JobState.VALIDATING_FILES, JobState.QUEUED)


def lock_next_project(session: Session, *, max_running: int) -> str | None:
    """Lock the project to serve next; None if no project has a job that may run now.

    `max_running` is the quota of projects without one of their own; 0 is unlimited. The choice may
    be outdated by the time the lock is held: `select_next_job` checks again.
    """
    for skip_locked in (True, False):
        project_id = _try_lock_next_project(session, max_running, skip_locked=skip_locked)
        if project_id is not None:
            return project_id
    return None


def _try_lock_next_project(session: Session, max_running: int, *, skip_locked: bool) -> str | None:
    # With a limit and in the index's order; otherwise the planner may scan all jobs.
    due = _select_first_due_job().where(Job.project_id == Project.id).lateral("due")
    running = select_running()
    limit = func.coalesce(Project.max_running_jobs, max_running)
    statement = (
        select(Project.id)
        .join(due, true())
        .join(running, true())
        .where(or_(limit == 0, running.c.count < limit))
        .order_by(
            running.c.count,
            compute_virtual_time(running),
            Project.last_served_at.asc().nulls_first(),
            Project.id,
        )
        .limit(1)
        # FOR NO KEY UPDATE: FOR UPDATE would wait for any transaction that adds a job or a file to
        # the project.
        .with_for_update(of=Project, key_share=True, skip_locked=skip_locked)
    )
    return session.scalar(statement)


def select_next_job(project_id: str, *, max_running: int) -> ScalarSelect[str]:
    """Build a subquery for the next job of a locked project, empty if its quota is used up."""
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
        # A job that its owner is pausing or cancelling right now is skipped, not waited for.
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )


def select_running() -> FromClause:
    """Build the lateral subquery of a project's running jobs: `count`, and their `seconds` so far.

    Each job counts from the start of its open attempt.
    """
    seconds = func.clock_timestamp() - JobAttempt.started_at
    return (
        select(
            func.count().label("count"),
            func.coalesce(func.sum(extract("epoch", seconds)), 0).label("seconds"),
        )
        .select_from(Job)
        .outerjoin(JobAttempt, (JobAttempt.job_id == Job.id) & (JobAttempt.attempt == Job.attempt))
        .where(Job.project_id == Project.id, Job.state.in_(states.HELD_STATES))
        .lateral("running")
    )


def compute_virtual_time(running: FromClause) -> ColumnElement[float]:
    """Build the expression of a project's trained time, with that of its running jobs so far."""
    return _raise_to_queue_time() + running.c.seconds


def _raise_to_queue_time() -> ColumnElement[float]:
    latest = aliased(Project)
    queue_time = (
        select(latest.virtual_start)
        .where(latest.last_served_at.is_not(None))
        .order_by(latest.last_served_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    other = aliased(Project)
    longest = select(func.max(other.virtual_time)).scalar_subquery()
    # GREATEST ignores NULL, the time of a queue that has served no project yet.
    time: ColumnElement[float] = func.greatest(
        Project.virtual_time, queue_time, longest - MAX_CLAIM_SECONDS
    )
    return time


def mark_served(session: Session, project_id: str) -> None:
    """Record that the project was served, which moves it behind those with as much time."""
    start = _raise_to_queue_time()
    session.execute(
        update(Project)
        .where(Project.id == project_id)
        .values(virtual_time=start, virtual_start=start, last_served_at=func.clock_timestamp())
        .execution_options(synchronize_session=False)
    )


def charge_attempts(session: Session, job_id: str) -> None:
    """Add the time of the job's ended attempts to its project's, each once.

    In a transaction of its own: whoever ends an attempt holds the job's lock, and archiving a
    project takes the project's lock first.
    """
    attempts = session.scalars(
        select(JobAttempt)
        .where(JobAttempt.job_id == job_id, JobAttempt.uncharged_seconds > 0)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    if not attempts:
        return
    seconds = sum(attempt.uncharged_seconds for attempt in attempts)
    for attempt in attempts:
        attempt.uncharged_seconds = 0
    session.execute(
        update(Project)
        .where(Project.id == select(Job.project_id).where(Job.id == job_id).scalar_subquery())
        .values(virtual_time=Project.virtual_time + seconds)
        .execution_options(synchronize_session=False)
    )


def find_uncharged(session: Session, *, limit: int) -> Sequence[str]:
    """Find jobs with ended attempts whose trainers did not charge them, since they died."""
    jobs = select(JobAttempt.job_id).where(JobAttempt.uncharged_seconds > 0).distinct()
    return session.scalars(jobs.limit(limit)).all()


def _select_first_due_job() -> Select[str]:
    """Select the first due job; the caller adds the condition on the project."""
    return (
        select(Job.id)
        .where(Job.state == JobState.QUEUED, Job.run_after <= func.clock_timestamp())
        .order_by(Job.priority.desc(), Job.created_at, Job.id)
        .limit(1)
    )


def check_queue_quota(session: Session, project_id: str, *, default: int) -> None:
    """Reserve room for one more job in the project's queue until the transaction ends.

    `default` is the quota of projects without one of their own; 0 is unlimited. Raises
    TooManyQueuedJobs.
    """
    own = select(Project.max_queued_jobs).where(Project.id == project_id)
    limit = session.scalar(select(func.coalesce(own.scalar_subquery(), default))) or 0
    if limit == 0:
        return
    # Serializes concurrent requests, so that each counts the jobs that the others created.
    name = f"queue\n{project_id}"
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))
    # Two subqueries, since each state has an index of its own.
    counts = [_count_up_to(project_id, state, limit) for state in QUEUE_STATES]
    if (session.scalar(select(counts[0] + counts[1])) or 0) >= limit:
        raise TooManyQueuedJobs(
            f"This project already has its maximum of {limit} queued job(s). Try again when one "
            "has started, or cancel one."
        )


def _count_up_to(project_id: str, state: JobState, maximum: int) -> ScalarSelect[int]:
    jobs = select(Job.id).where(Job.project_id == project_id, Job.state == state).limit(maximum)
    return select(func.count()).select_from(jobs.subquery()).scalar_subquery()


def set_limits(
    session: Session,
    project_id: str,
    *,
    max_running: int | None = None,
    max_queued: int | None = None,
) -> Project | None:
    """Set a project's own quotas; None keeps a quota. Return None for an unknown project."""
    project = session.get(Project, project_id)
    if project is None:
        return None
    if max_running is not None:
        project.max_running_jobs = max_running
    if max_queued is not None:
        project.max_queued_jobs = max_queued
    session.flush()
    return project
