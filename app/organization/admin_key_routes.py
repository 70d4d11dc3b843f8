"""OpenAI's admin API: admin keys of an organization."""

from typing import Literal

from fastapi import APIRouter

from app.auth import audit_log
from app.db.tables import AuditEvent
from app.http.dependencies import (
    AdminDep,
    AdminPageLimit,
    AfterCursor,
    ReadSessionDep,
    SessionDep,
)
from app.http.idempotency import IdempotentRoute
from app.organization import admin_keys, serializers
from app.organization.schemas import (
    AdminKeyDeleted,
    AdminKeyList,
    AdminKeyObject,
    CreateAdminKey,
    NewAdminKey,
)
from app.wire.base import page_cursors

router = APIRouter(prefix="/v1/organization", tags=["organization"], route_class=IdempotentRoute)


@router.get("/admin_api_keys")
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
    data = [serializers.serialize_admin_key(row, admin) for row in page.rows]
    return AdminKeyList(data=data, has_more=page.has_more, **page_cursors(data))


@router.post("/admin_api_keys")
def create_admin_key(body: CreateAdminKey, admin: AdminDep, session: SessionDep) -> NewAdminKey:
    """Create an admin key; its `value` is shown only once."""
    key, secret = admin_keys.create(
        session, admin.organization_id, body.name, expires_in=body.expires_in_seconds
    )
    audit_log.record(session, admin, AuditEvent.API_KEY_CREATED, key.id, data={})
    return serializers.serialize_new_admin_key(key, admin, secret)


@router.get("/admin_api_keys/{key_id}")
def retrieve_admin_key(key_id: str, admin: AdminDep, session: ReadSessionDep) -> AdminKeyObject:
    row = admin_keys.get(session, admin.organization_id, key_id)
    return serializers.serialize_admin_key(row, admin)


@router.delete("/admin_api_keys/{key_id}")
def delete_admin_key(key_id: str, admin: AdminDep, session: SessionDep) -> AdminKeyDeleted:
    """Delete an admin key. It stops working at once."""
    admin_keys.delete(session, admin.organization_id, key_id)
    audit_log.record(session, admin, AuditEvent.API_KEY_DELETED, key_id)
    return AdminKeyDeleted(id=key_id, deleted=True)
