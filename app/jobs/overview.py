"""Overview of all projects' jobs for operators: progress, and the reason why a job waits."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, Select, func, select, true
from sqlalchemy.orm import Session

from app.db.tables import TERMINAL_STATES, Job, JobLease, JobMetric, JobState, Project
from app.jobs import scheduling
from app.jobs.lifecycle import build_job_not_found


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOverview:
    """One job, as operators see it. `step` is the last one reported; `reason` says why it waits."""

    id: str
    project_id: str
    project_name: str
    state: JobState
    model: str
    method: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    trained_seconds: float
    step: int
    total_steps: int | None
    trainer: str | None
    reason: str | None


def list_jobs(
    session: Session,
    *,
    project_id: str | None = None,
    job_states: Collection[JobState] = (),
    limit: int,
    max_running: int = 0,
) -> list[JobOverview]:
    """List the newest jobs of all projects, or of one; by default those that have not ended.

    `max_running` is the quota of projects without one of their own; 0 is unlimited.
    """
    chosen = job_states or [state for state in JobState if state not in TERMINAL_STATES]
    statement = _select_overview(max_running).where(Job.state.in_(chosen))
    if project_id is not None:
        statement = statement.where(Job.project_id == project_id)
    statement = statement.order_by(Job.created_at.desc(), Job.id.desc()).limit(limit)
    return [_build_overview(row) for row in session.execute(statement)]


def get(session: Session, job_id: str, *, max_running: int = 0) -> JobOverview:
    """Get a job of any project. Raises NotFound."""
    row = session.execute(_select_overview(max_running).where(Job.id == job_id)).one_or_none()
    if row is None:
        raise build_job_not_found(job_id)
    return _build_overview(row)


def find_project_id(session: Session, job_id: str) -> str:
    """Find the project of a job. Raises NotFound."""
    project_id = session.scalar(select(Job.project_id).where(Job.id == job_id))
    if project_id is None:
        raise build_job_not_found(job_id)
    return project_id


def _select_overview(max_running: int) -> Select[Any]:
    step = select(func.max(JobMetric.step)).where(JobMetric.job_id == Job.id).scalar_subquery()
    running = scheduling.select_running()
    return (
        select(
            Job,
            Project,
            JobLease,
            func.coalesce(step, 0).label("step"),
            running.c.count.label("running"),
            func.coalesce(Project.max_running_jobs, max_running).label("limit"),
            (Job.run_after > func.clock_timestamp()).label("is_delayed"),
        )
        .select_from(Job)
        .join(Project, Project.id == Job.project_id)
        .join(running, true())
        .outerjoin(JobLease, JobLease.job_id == Job.id)
        .execution_options(populate_existing=True)
    )


def _build_overview(row: Row[Any]) -> JobOverview:
    job, project, lease = row.Job, row.Project, row.JobLease
    return JobOverview(
        id=job.id,
        project_id=project.id,
        project_name=project.name,
        state=job.state,
        model=job.start_model or job.base_model,
        method=job.method,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        trained_seconds=job.trained_seconds,
        step=row.step,
        total_steps=job.total_steps,
        trainer=None if lease is None else lease.trainer,
        reason=_describe_reason(row),
    )


def _describe_reason(row: Row[Any]) -> str | None:
    job, lease = row.Job, row.JobLease
    match job.state:
        case JobState.VALIDATING_FILES:
            return "Its files are about to be checked by the io process."
        case JobState.QUEUED if row.is_delayed:
            return f"It is tried again at {job.run_after.astimezone(UTC):%H:%M:%S} UTC."
        case JobState.QUEUED if row.limit and row.running >= row.limit:
            return f"Its project runs its maximum of {row.limit} job(s)."
        case JobState.QUEUED:
            return "It waits for a free trainer and its project's turn."
        case JobState.PAUSING:
            return "It is being paused: its trainer stores a checkpoint."
        case JobState.PAUSED:
            return "It is paused until it is resumed."
        case JobState.RUNNING if lease is not None and lease.yield_requested_at is not None:
            return "It is yielding its trainer to another project at its next checkpoint."
        case JobState.FAILED:
            return str(job.error_message)
    return None
