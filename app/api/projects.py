"""/v1/organization/projects"""

from fastapi import APIRouter

from app.api import owners
from app.api.deps import AdminDep, AdminLimit, After, ReadingDep, SessionDep
from app.api.repeats import ONCE, ONCE_BY_KEY, RepeatableRoute
from app.schemas.projects import CreateProject, ModifyProject, ProjectList, ProjectObject
from app.schemas.wire import page_cursors
from app.services import projects

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
    return owners.project(projects.retrieve(session, admin.organization_id, project_id))


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
