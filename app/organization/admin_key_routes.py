"""/v1/organization/admin_api_keys"""

from typing import Literal

from fastapi import APIRouter

from app.http.dependencies import AdminDep, AdminPageLimit, AfterCursor, ReadSessionDep, SessionDep
from app.http.strict_json import StrictRoute
from app.organization import admin_keys
from app.organization import serializers as owners
from app.organization.admin_key_schemas import (
    AdminKeyDeleted,
    AdminKeyList,
    AdminKeyObject,
    CreateAdminKey,
    NewAdminKey,
)
from app.wire.base import page_cursors

router = APIRouter(
    prefix="/v1/organization/admin_api_keys", tags=["organization"], route_class=StrictRoute
)


@router.get("")
def list_admin_keys(
    admin: AdminDep,
    session: ReadSessionDep,
    after: AfterCursor = None,
    order: Literal["asc", "desc"] = "asc",
    limit: AdminPageLimit = 20,
) -> AdminKeyList:
    page = admin_keys.list_for_organization(
        session, admin.organization_id, order=order, after=after, limit=limit
    )
    data = [owners.serialize_admin_key(row, admin) for row in page.rows]
    return AdminKeyList(data=data, has_more=page.has_more, **page_cursors(data))


@router.post("")
def create_admin_key(asked: CreateAdminKey, admin: AdminDep, session: SessionDep) -> NewAdminKey:
    """Make an admin key; its `value` is shown this once."""
    key, secret = admin_keys.create(
        session, admin.organization_id, asked.name, expires_in=asked.expires_in_seconds
    )
    return owners.serialize_new_admin_key(key, admin, secret)


@router.get("/{key_id}")
def retrieve_admin_key(key_id: str, admin: AdminDep, session: ReadSessionDep) -> AdminKeyObject:
    return owners.serialize_admin_key(admin_keys.get(session, admin.organization_id, key_id), admin)


@router.delete("/{key_id}")
def delete_admin_key(key_id: str, admin: AdminDep, session: SessionDep) -> AdminKeyDeleted:
    """Delete an admin key: the next request with it is refused."""
    admin_keys.delete(session, admin.organization_id, key_id)
    return AdminKeyDeleted(id=key_id, deleted=True)
