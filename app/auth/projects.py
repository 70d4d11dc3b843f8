"""Project access checks: the project belongs to the organization and is not archived."""

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.db.tables import Project
from app.errors import Forbidden, InvalidRequest, NotFound


def get(session: Session, organization_id: str, project_id: str) -> Project:
    """Get a project of the organization, archived or not. Raises NotFound."""
    return get_one_or_raise(session, select_project(organization_id, project_id), project_id)


def get_active(session: Session, organization_id: str, project_id: str) -> Project:
    """Get a project of the organization, locked against archiving until this transaction ends.

    Raises NotFound, or InvalidRequest if it is archived.
    """
    statement = select_project(organization_id, project_id).with_for_update(read=True)
    project = get_one_or_raise(session, statement, project_id)
    if project.archived_at is not None:
        raise InvalidRequest(
            f"The project {project_id} is archived. Archived projects cannot be used or updated.",
            param="project_id",
        )
    return project


def lock_active(session: Session, project_id: str) -> None:
    """Lock a request's own project against archiving. Raises Forbidden if it is archived."""
    statement = select(Project.archived_at).where(Project.id == project_id)
    if session.scalars(statement.with_for_update(read=True)).one() is not None:
        raise Forbidden(f"The project {project_id} is archived and can no longer be used.")


def select_project(organization_id: str, project_id: str) -> Select[Project]:
    return (
        select(Project)
        .where(Project.id == project_id, Project.organization_id == organization_id)
        .execution_options(populate_existing=True)
    )


def get_one_or_raise(session: Session, statement: Select[Project], project_id: str) -> Project:
    project = session.scalars(statement).one_or_none()
    if project is None:
        raise NotFound(f"No such project: {project_id}", param="project_id")
    return project
