"""Serializers of the admin API: rows to wire objects."""

from collections.abc import Mapping
from typing import Any

from app.auth.principals import AdminPrincipal
from app.db.tables import AdminKey, ApiKey, AuditActor, AuditLog, Project, ServiceAccount
from app.organization.audit_schemas import AuditLogObject
from app.organization.schemas import (
    AdminKeyObject,
    AdminKeyOwner,
    ApiKeyObject,
    ApiKeyOwner,
    NewAdminKey,
    NewServiceAccount,
    NewServiceAccountKey,
    ProjectObject,
    ServiceAccountObject,
    ServiceAccountOwner,
    UserOwner,
)

# OpenAI's clients expect a user as the owner of a key without a service account.
OPERATOR_ID = "user-operator"
OPERATOR_NAME = "operator"
# A top-level domain reserved by RFC 2606: no mail is ever delivered to it.
OPERATOR_EMAIL = "operator@luthier.invalid"


def serialize_project(row: Project) -> ProjectObject:
    return ProjectObject(
        id=row.id,
        name=row.name,
        created_at=row.created_at,
        archived_at=row.archived_at,
        status="active" if row.archived_at is None else "archived",
    )


def serialize_key(row: ApiKey, admin: AdminPrincipal) -> ApiKeyObject:
    return ApiKeyObject(
        id=row.id,
        name=row.name,
        redacted_value=row.redacted,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        expires_at=row.expires_at,
        owner=_serialize_owner(row, admin),
        owner_project_access="active",
    )


def serialize_new_key(row: ApiKey, secret: str) -> NewServiceAccountKey:
    return NewServiceAccountKey(
        id=row.id,
        name=row.name,
        created_at=row.created_at,
        expires_at=row.expires_at,
        value=secret,
    )


def serialize_new_service_account(
    row: ServiceAccount, key: NewServiceAccountKey | None
) -> NewServiceAccount:
    return NewServiceAccount(**dict(ServiceAccountObject.model_validate(row)), api_key=key)


def serialize_admin_key(row: AdminKey, admin: AdminPrincipal) -> AdminKeyObject:
    return AdminKeyObject(
        id=row.id,
        name=row.name,
        redacted_value=row.redacted,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        owner=AdminKeyOwner(
            id=OPERATOR_ID, name=OPERATOR_NAME, created_at=admin.organization_created_at
        ),
    )


def serialize_new_admin_key(row: AdminKey, admin: AdminPrincipal, secret: str) -> NewAdminKey:
    return NewAdminKey(**dict(serialize_admin_key(row, admin)), value=secret)


def _serialize_owner(row: ApiKey, admin: AdminPrincipal) -> ApiKeyOwner:
    account = row.service_account
    if account is not None:
        owner = ServiceAccountOwner(
            id=account.id, name=account.name, created_at=account.created_at, role=account.role
        )
        return ApiKeyOwner(type="service_account", service_account=owner)
    user = UserOwner(
        id=OPERATOR_ID,
        email=OPERATOR_EMAIL,
        name=OPERATOR_NAME,
        created_at=admin.organization_created_at,
        role="owner",
    )
    return ApiKeyOwner(type="user", user=user)


def serialize_audit_log(row: AuditLog, project_names: Mapping[str, str]) -> AuditLogObject:
    fields = {
        "id": row.id,
        "effective_at": row.created_at,
        "type": row.event,
        "actor": _serialize_actor(row),
        row.event.value: {"id": row.resource_id, **row.details},
    }
    if row.project_id is not None:
        fields["project"] = {"id": row.project_id, "name": project_names[row.project_id]}
    return AuditLogObject.model_validate(fields)


def _serialize_actor(row: AuditLog) -> dict[str, Any]:
    if row.actor == AuditActor.API_KEY:
        operator = {"id": OPERATOR_ID, "email": OPERATOR_EMAIL}
        return {"type": "api_key", "api_key": {"id": row.actor_id, "user": operator}}
    return {"type": "session", "session": {"user": {"id": row.actor_id}}}
