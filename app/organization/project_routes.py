"""/v1/organization/projects"""

from fastapi import APIRouter

from app.auth import projects as open_projects
from app.http.dependencies import AdminDep, AdminLimit, After, ReadingDep, SessionDep
from app.http.idempotency import ONCE, ONCE_BY_KEY, RepeatableRoute
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
    prefix="/v1/organization/projects", tags=["organization"], route_class=RepeatableRoute
)


@router.get("")
def list_projects(
    admin: AdminDep,
    session: ReadingDep,
    limit: AdminLimit = 20,
    after: After = None,
    include_archived: bool = False,
) -> ProjectList:
    """Newest first."""
    page = projects.list_(
        session, admin.organization_id, archived=include_archived, after=after, limit=limit
    )
    data = [owners.project(row) for row in page.rows]
    return ProjectList(data=data, has_more=page.has_more, **page_cursors(data))


@router.post("", dependencies=[ONCE])
def create(asked: CreateProject, admin: AdminDep, session: SessionDep) -> ProjectObject:
    return owners.project(projects.create(session, admin.organization_id, asked.name))


@router.get("/{project_id}")
def retrieve(project_id: str, admin: AdminDep, session: ReadingDep) -> ProjectObject:
    return owners.project(open_projects.retrieve(session, admin.organization_id, project_id))


@router.post("/{project_id}", dependencies=[ONCE_BY_KEY])
def modify(
    project_id: str, asked: ModifyProject, admin: AdminDep, session: SessionDep
) -> ProjectObject:
    row = projects.rename(session, admin.organization_id, project_id, asked.name)
    return owners.project(row)


@router.post("/{project_id}/archive", dependencies=[ONCE_BY_KEY])
def archive(project_id: str, admin: AdminDep, session: SessionDep) -> ProjectObject:
    """End a project for good, with its keys and service accounts; its jobs are cancelled."""
    return owners.project(projects.archive(session, admin.organization_id, project_id))
