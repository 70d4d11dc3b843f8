"""Overview of all projects' jobs for operators: progress, and the reason why a job waits."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session

from app.db.tables import TERMINAL_STATES, Job, JobState, Project
from app.jobs import progress_report
from app.jobs.lifecycle import build_job_not_found
from app.jobs.progress_report import ProgressReport


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
    organization_id: str | None = None,
    project_id: str | None = None,
    job_states: Collection[JobState] = (),
    limit: int,
    max_running: int = 0,
    heartbeat_seconds: float,
) -> list[JobOverview]:
    """List the newest jobs of all projects, or of those of one organization, or of one project; by
    default those that have not ended.

    `max_running` is the quota of projects without one of their own, 0 is unlimited;
    `heartbeat_seconds` the interval of trainers' heartbeats.
    """
    chosen = job_states or [state for state in JobState if state not in TERMINAL_STATES]
    statement = _select_overview().where(Job.state.in_(chosen))
    if organization_id is not None:
        statement = statement.where(Project.organization_id == organization_id)
    if project_id is not None:
        statement = statement.where(Job.project_id == project_id)
    statement = statement.order_by(Job.created_at.desc(), Job.id.desc()).limit(limit)
    rows = session.execute(statement).all()
    return _build_overviews(session, rows, max_running, heartbeat_seconds)


def get(
    session: Session, job_id: str, *, max_running: int = 0, heartbeat_seconds: float
) -> JobOverview:
    """Get a job of any project. Raises NotFound."""
    rows = session.execute(_select_overview().where(Job.id == job_id)).all()
    overviews = _build_overviews(session, rows, max_running, heartbeat_seconds)
    if not overviews:
        raise build_job_not_found(job_id)
    return overviews[0]


def find_project_id(session: Session, job_id: str) -> str:
    """Find the project of a job. Raises NotFound."""
    project_id = session.scalar(select(Job.project_id).where(Job.id == job_id))
    if project_id is None:
        raise build_job_not_found(job_id)
    return project_id


def _select_overview() -> Select[Job, Project]:
    return (
        select(Job, Project)
        .join(Project, Project.id == Job.project_id)
        .execution_options(populate_existing=True)
    )


def _build_overviews(
    session: Session, rows: Sequence[Row[Job, Project]], max_running: int, heartbeat_seconds: float
) -> list[JobOverview]:
    reports = progress_report.report(
        session,
        [row.Job for row in rows],
        max_running=max_running,
        heartbeat_seconds=heartbeat_seconds,
    )
    return [
        _build_overview(row.Job, row.Project, reports[row.Job.id])
        for row in rows
        if row.Job.id in reports
    ]


def _build_overview(job: Job, project: Project, progress: ProgressReport) -> JobOverview:
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
        step=progress.step,
        total_steps=job.total_steps,
        trainer=progress.trainer,
        reason=_describe_reason(job, progress),
    )


def _describe_reason(job: Job, progress: ProgressReport) -> str | None:
    if job.state == JobState.FAILED:
        return job.error_message
    return None if progress.wait is None else progress.wait.message
