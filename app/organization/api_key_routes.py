"""/v1/organization/projects/{project_id}/api_keys"""

from fastapi import APIRouter

from app.auth import projects as open_projects
from app.http.dependencies import AdminDep, AdminPageLimit, AfterCursor, ReadSessionDep, SessionDep
from app.http.strict_json import StrictRoute
from app.organization import api_keys
from app.organization import serializers as owners
from app.organization.api_key_schemas import ApiKeyDeleted, ApiKeyList, ApiKeyObject, ModifyApiKey
from app.organization.api_keys import ProjectAccess
from app.wire.base import page_cursors

router = APIRouter(
    prefix="/v1/organization/projects/{project_id}/api_keys",
    tags=["organization"],
    route_class=StrictRoute,
)


@router.get("")
def list_api_keys(
    project_id: str,
    admin: AdminDep,
    session: ReadSessionDep,
    limit: AdminPageLimit = 20,
    after: AfterCursor = None,
    owner_project_access: ProjectAccess = "any",
) -> ApiKeyList:
    """Newest first."""
    open_projects.get(session, admin.organization_id, project_id)
    page = api_keys.list_for_project(
        session, project_id, access=owner_project_access, after=after, limit=limit
    )
    data = [owners.serialize_key(row, admin) for row in page.rows]
    return ApiKeyList(data=data, has_more=page.has_more, **page_cursors(data))


@router.get("/{api_key_id}")
def retrieve_api_key(
    project_id: str, api_key_id: str, admin: AdminDep, session: ReadSessionDep
) -> ApiKeyObject:
    open_projects.get(session, admin.organization_id, project_id)
    return owners.serialize_key(api_keys.get(session, project_id, api_key_id), admin)


@router.post("/{api_key_id}")
def modify_api_key(
    project_id: str, api_key_id: str, asked: ModifyApiKey, admin: AdminDep, session: SessionDep
) -> ApiKeyObject:
    """Change when a key expires, counted from now."""
    open_projects.get_active(session, admin.organization_id, project_id)
    api_keys.reject_scopes(asked.scopes)
    if asked.expires_in_seconds is not None:
        api_keys.set_expiry(session, project_id, api_key_id, asked.expires_in_seconds)
    return owners.serialize_key(api_keys.get(session, project_id, api_key_id), admin)


@router.delete("/{api_key_id}")
def delete_api_key(
    project_id: str, api_key_id: str, admin: AdminDep, session: SessionDep
) -> ApiKeyDeleted:
    """Delete a key: the next request with it is refused."""
    open_projects.get(session, admin.organization_id, project_id)
    api_keys.delete(session, project_id, api_key_id)
    return ApiKeyDeleted(id=api_key_id, deleted=True)
