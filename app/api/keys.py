"""/v1/organization/projects/{project_id}/api_keys"""

from fastapi import APIRouter

from app.api import owners
from app.api.bodies import StrictRoute
from app.api.deps import AdminDep, AdminLimit, After, ReadingDep, SessionDep
from app.schemas.keys import KeyDeleted, KeyList, KeyObject, ModifyKey
from app.schemas.wire import page_cursors
from app.services import keys, open_projects, projects
from app.services.keys import Access

router = APIRouter(
    prefix="/v1/organization/projects/{project_id}/api_keys",
    tags=["organization"],
    route_class=StrictRoute,
)


@router.get("")
def list_keys(
    project_id: str,
    admin: AdminDep,
    session: ReadingDep,
    limit: AdminLimit = 20,
    after: After = None,
    owner_project_access: Access = "any",
) -> KeyList:
    """Newest first."""
    projects.retrieve(session, admin.organization_id, project_id)
    page = keys.list_of_project(
        session, project_id, access=owner_project_access, after=after, limit=limit
    )
    data = [owners.key(row, admin) for row in page.rows]
    return KeyList(data=data, has_more=page.has_more, **page_cursors(data))


@router.get("/{api_key_id}")
def retrieve(project_id: str, api_key_id: str, admin: AdminDep, session: ReadingDep) -> KeyObject:
    projects.retrieve(session, admin.organization_id, project_id)
    return owners.key(keys.retrieve(session, project_id, api_key_id), admin)


@router.post("/{api_key_id}")
def modify(
    project_id: str, api_key_id: str, asked: ModifyKey, admin: AdminDep, session: SessionDep
) -> KeyObject:
    """Change when a key expires, counted from now."""
    open_projects.active(session, admin.organization_id, project_id)
    keys.require_no_scopes(asked.scopes)
    if asked.expires_in_seconds is not None:
        keys.prolong(session, project_id, api_key_id, asked.expires_in_seconds)
    return owners.key(keys.retrieve(session, project_id, api_key_id), admin)


@router.delete("/{api_key_id}")
def delete(project_id: str, api_key_id: str, admin: AdminDep, session: SessionDep) -> KeyDeleted:
    """Delete a key: the next request with it is refused."""
    projects.retrieve(session, admin.organization_id, project_id)
    keys.delete(session, project_id, api_key_id)
    return KeyDeleted(id=api_key_id, deleted=True)
