"""/v1/organization/projects/{project_id}/api_keys"""

from fastapi import APIRouter

from app.auth import projects as open_projects
from app.http.dependencies import AdminDep, AdminLimit, After, ReadingDep, SessionDep
from app.http.strict_json import StrictRoute
from app.organization import api_keys
from app.organization import serializers as owners
from app.organization.api_key_schemas import KeyDeleted, KeyList, KeyObject, ModifyKey
from app.organization.api_keys import Access
from app.wire.base import page_cursors

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
    open_projects.retrieve(session, admin.organization_id, project_id)
    page = api_keys.list_of_project(
        session, project_id, access=owner_project_access, after=after, limit=limit
    )
    data = [owners.key(row, admin) for row in page.rows]
    return KeyList(data=data, has_more=page.has_more, **page_cursors(data))


@router.get("/{api_key_id}")
def retrieve(project_id: str, api_key_id: str, admin: AdminDep, session: ReadingDep) -> KeyObject:
    open_projects.retrieve(session, admin.organization_id, project_id)
    return owners.key(api_keys.retrieve(session, project_id, api_key_id), admin)


@router.post("/{api_key_id}")
def modify(
    project_id: str, api_key_id: str, asked: ModifyKey, admin: AdminDep, session: SessionDep
) -> KeyObject:
    """Change when a key expires, counted from now."""
    open_projects.active(session, admin.organization_id, project_id)
    api_keys.require_no_scopes(asked.scopes)
    if asked.expires_in_seconds is not None:
        api_keys.prolong(session, project_id, api_key_id, asked.expires_in_seconds)
    return owners.key(api_keys.retrieve(session, project_id, api_key_id), admin)


@router.delete("/{api_key_id}")
def delete(project_id: str, api_key_id: str, admin: AdminDep, session: SessionDep) -> KeyDeleted:
    """Delete a key: the next request with it is refused."""
    open_projects.retrieve(session, admin.organization_id, project_id)
    api_keys.delete(session, project_id, api_key_id)
    return KeyDeleted(id=api_key_id, deleted=True)
