"""Projects of an organization: create, list, rename, archive."""

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from app import ids
from app.auth import projects, secrets
from app.batches import service as batches
from app.db import pagination
from app.db.pagination import Page
from app.db.tables import (
    TERMINAL_STATES,
    ApiKey,
    Job,
    Project,
    ServiceAccount,
    Sweep,
    SweepState,
)
from app.evals import runs as eval_runs
from app.jobs import lifecycle
from app.responses import background as responses
from app.sweeps import lifecycle as sweeps


def create(session: Session, organization_id: str, name: str) -> Project:
    project = Project(id=ids.project_id(), organization_id=organization_id, name=name)
    session.add(project)
    session.flush()
    return project


def list_for_organization(
    session: Session, organization_id: str, *, include_archived: bool, after: str | None, limit: int
) -> Page[Project]:
    """List a page of the organization's projects, newest first."""
    all_projects = select(Project).where(Project.organization_id == organization_id)
    statement = (
        all_projects if include_archived else all_projects.where(Project.archived_at.is_(None))
    )
    return pagination.fetch_page_by_age(
        session, statement, cursor_rows=all_projects, after=after, limit=limit
    )


def rename(session: Session, project: Project, name: str | None) -> None:
    """Rename a project; None keeps the name."""
    if name is not None:
        project.name = name
        session.flush()


def archive(session: Session, organization_id: str, project_id: str) -> Project:
    """Archive a project permanently. Idempotent. Raises NotFound.

    Its keys and service accounts are revoked, and its sweeps, batches, eval runs and jobs
    cancelled: no one could see or stop them any more, and they would keep using the hardware.
    """
    # FOR NO KEY UPDATE: a stronger lock could deadlock with a trainer that ends one of its jobs.
    statement = projects.select_project(organization_id, project_id)
    project = projects.get_one_or_raise(
        session, statement.with_for_update(key_share=True), project_id
    )
    if project.archived_at is not None:
        return project
    # Before the jobs: whoever changes a sweep and its jobs locks the sweep first.
    for sweep_id in session.scalars(_select_running_sweeps(project_id)).all():
        sweeps.cancel(session, project_id, sweep_id)
    batches.cancel_all(session, project_id)
    eval_runs.cancel_all(session, project_id)
    responses.cancel_all(session, project_id)
    for job_id in session.scalars(_select_unfinished_jobs(project_id)):
        lifecycle.cancel(session, project_id, job_id)
    secrets.revoke(session, ApiKey, ApiKey.project_id == project_id)
    session.execute(
        update(ServiceAccount)
        .where(ServiceAccount.project_id == project_id, ServiceAccount.deleted_at.is_(None))
        .values(deleted_at=func.clock_timestamp())
    )
    project.archived_at = func.clock_timestamp()
    session.flush()
    return project


def _select_running_sweeps(project_id: str) -> Select[str]:
    return (
        select(Sweep.id)
        .where(Sweep.project_id == project_id, Sweep.state == SweepState.RUNNING)
        .order_by(Sweep.id)
        .with_for_update()
    )


def _select_unfinished_jobs(project_id: str) -> Select[str]:
    # Locked, or a job could end between this query and its cancellation.
    return (
        select(Job.id)
        .where(Job.project_id == project_id, Job.state.not_in(TERMINAL_STATES))
        .order_by(Job.id)
        .with_for_update()
    )
