"""Projects of an organization: made, renamed, archived. What is in one is nobody else's."""

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from app import ids
from app.auth import projects, secrets
from app.db import pagination
from app.db.pagination import Page
from app.db.tables import TERMINAL_STATES, ApiKey, Job, Project, ServiceAccount
from app.jobs import lifecycle


def create(session: Session, organization_id: str, name: str) -> Project:
    project = Project(id=ids.project_id(), organization_id=organization_id, name=name)
    session.add(project)
    session.flush()
    return project


def list_for_organization(
    session: Session, organization_id: str, *, include_archived: bool, after: str | None, limit: int
) -> Page[Project]:
    """A page of an organization's projects, newest first; the archived ones too if `archived`."""
    mine = select(Project).where(Project.organization_id == organization_id)
    statement = mine if include_archived else mine.where(Project.archived_at.is_(None))
    return pagination.page_by_age(session, statement, cursor_rows=mine, after=after, limit=limit)


def rename(session: Session, organization_id: str, project_id: str, name: str | None) -> Project:
    """Give a project another name; None leaves it as it is. Raises NotFound, InvalidRequest."""
    project = projects.get_active(session, organization_id, project_id)
    if name is not None:
        project.name = name
        session.flush()
    return project


def archive(session: Session, organization_id: str, project_id: str) -> Project:
    """End a project for good; archiving it again changes nothing. Raises NotFound.

    Its keys and service accounts end with it, and its jobs are cancelled: nobody could look at
    them or stop them any more, and they would go on using the machine.
    """
    # No stronger lock: with one, a worker that ends a job here and this would wait for each other.
    held = projects.named(organization_id, project_id).with_for_update(key_share=True)
    project = projects.one(session, held, project_id)
    if project.archived_at is not None:
        return project
    for job_id in session.scalars(_unfinished_jobs(project_id)):
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


def _unfinished_jobs(project_id: str) -> Select[str]:
    # Locked, or one could end between being found and being cancelled.
    return (
        select(Job.id)
        .where(Job.project_id == project_id, Job.state.not_in(TERMINAL_STATES))
        .order_by(Job.id)
        .with_for_update()
    )
