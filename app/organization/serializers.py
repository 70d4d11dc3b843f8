"""Projects and keys, and whom they belong to, as the wire shows them."""

from app.auth.principals import Admin
from app.db.tables import AdminKey, ApiKey, Project
from app.organization.admin_key_schemas import AdminKeyObject, AdminKeyOwner, NewAdminKey
from app.organization.api_key_schemas import KeyObject, KeyOwner, ServiceAccountOwner, UserOwner
from app.organization.project_schemas import ProjectObject
from app.organization.service_account_schemas import NewServiceAccountKey

# Whoever runs the service. OpenAI's clients want a user where no program owns a key.
OPERATOR_ID = "user-operator"
OPERATOR_NAME = "operator"
# Reserved for addresses that no mail reaches.
OPERATOR_EMAIL = "operator@luthier.invalid"


def project(row: Project) -> ProjectObject:
    return ProjectObject(
        id=row.id,
        name=row.name,
        created_at=row.created_at,
        archived_at=row.archived_at,
        status="active" if row.archived_at is None else "archived",
    )


def key(row: ApiKey, admin: Admin) -> KeyObject:
    return KeyObject(
        id=row.id,
        name=row.name,
        redacted_value=row.redacted,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        expires_at=row.expires_at,
        owner=_owner(row, admin),
        owner_project_access="active",
    )


def new_key(row: ApiKey, secret: str) -> NewServiceAccountKey:
    return NewServiceAccountKey(
        id=row.id,
        name=row.name,
        created_at=row.created_at,
        expires_at=row.expires_at,
        value=secret,
    )


def admin_key(row: AdminKey, admin: Admin) -> AdminKeyObject:
    return AdminKeyObject(
        id=row.id,
        name=row.name,
        redacted_value=row.redacted,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        owner=AdminKeyOwner(id=OPERATOR_ID, name=OPERATOR_NAME, created_at=admin.since),
    )


def new_admin_key(row: AdminKey, admin: Admin, secret: str) -> NewAdminKey:
    return NewAdminKey(**dict(admin_key(row, admin)), value=secret)


def _owner(row: ApiKey, admin: Admin) -> KeyOwner:
    account = row.service_account
    if account is not None:
        owner = ServiceAccountOwner(
            id=account.id, name=account.name, created_at=account.created_at, role=account.role
        )
        return KeyOwner(type="service_account", service_account=owner)
    user = UserOwner(
        id=OPERATOR_ID,
        email=OPERATOR_EMAIL,
        name=OPERATOR_NAME,
        created_at=admin.since,
        role="owner",
    )
    return KeyOwner(type="user", user=user)
