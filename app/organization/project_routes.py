"""/v1/organization/projects"""

from fastapi import APIRouter

from app.auth import projects as open_projects
from app.http.dependencies import AdminDep, AdminPageLimit, AfterCursor, ReadSessionDep, SessionDep
from app.http.idempotency import IDEMPOTENT, IDEMPOTENT_BY_KEY, IdempotentRoute
from app.organization import projects
from app.organization import serializers as owners
from app.organization.project_schemas import (
    CreateProject,
    ModifyProject,
    ProjectList,
    ProjectObject,
)
from app.wire.base import page_cursors

router = APIRouter(
    prefix="/v1/organization/projects", tags=["organization"], route_class=IdempotentRoute
)


@router.get("")
def list_projects(
    admin: AdminDep,
    session: ReadSessionDep,
    limit: AdminPageLimit = 20,
    after: AfterCursor = None,
    include_archived: bool = False,
) -> ProjectList:
    """Newest first."""
    page = projects.list_for_organization(
        session, admin.organization_id, include_archived=include_archived, after=after, limit=limit
    )
    data = [owners.serialize_project(row) for row in page.rows]
    return ProjectList(data=data, has_more=page.has_more, **page_cursors(data))


@router.post("", dependencies=[IDEMPOTENT])
def create_project(asked: CreateProject, admin: AdminDep, session: SessionDep) -> ProjectObject:
    return owners.serialize_project(projects.create(session, admin.organization_id, asked.name))


@router.get("/{project_id}")
def retrieve_project(project_id: str, admin: AdminDep, session: ReadSessionDep) -> ProjectObject:
    return owners.serialize_project(open_projects.get(session, admin.organization_id, project_id))


@router.post("/{project_id}", dependencies=[IDEMPOTENT_BY_KEY])
def modify_project(
    project_id: str, asked: ModifyProject, admin: AdminDep, session: SessionDep
) -> ProjectObject:
    row = projects.rename(session, admin.organization_id, project_id, asked.name)
    return owners.serialize_project(row)


@router.post("/{project_id}/archive", dependencies=[IDEMPOTENT_BY_KEY])
def archive_project(project_id: str, admin: AdminDep, session: SessionDep) -> ProjectObject:
    """End a project for good, with its keys and service accounts; its jobs are cancelled."""
    return owners.serialize_project(projects.archive(session, admin.organization_id, project_id))
