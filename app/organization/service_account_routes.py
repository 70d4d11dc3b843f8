"""/v1/organization/projects/{project_id}/service_accounts"""

from fastapi import APIRouter

from app.auth import projects as open_projects
from app.http.dependencies import AdminDep, AdminPageLimit, AfterCursor, ReadSessionDep, SessionDep
from app.http.strict_json import StrictRoute
from app.organization import api_keys, service_accounts
from app.organization import serializers as owners
from app.organization.service_account_schemas import (
    CreateServiceAccount,
    CreateServiceAccountKey,
    ModifyServiceAccount,
    NewServiceAccount,
    NewServiceAccountKey,
    ServiceAccountDeleted,
    ServiceAccountList,
    ServiceAccountObject,
)
from app.wire.base import page_cursors

router = APIRouter(
    prefix="/v1/organization/projects/{project_id}/service_accounts",
    tags=["organization"],
    route_class=StrictRoute,
)


@router.get("")
def list_service_accounts(
    project_id: str,
    admin: AdminDep,
    session: ReadSessionDep,
    limit: AdminPageLimit = 20,
    after: AfterCursor = None,
) -> ServiceAccountList:
    """Newest first."""
    open_projects.get_active(session, admin.organization_id, project_id)
    page = service_accounts.list_for_project(session, project_id, after=after, limit=limit)
    data = [ServiceAccountObject.model_validate(row) for row in page.rows]
    return ServiceAccountList(data=data, has_more=page.has_more, **page_cursors(data))


@router.post("")
def create_service_account(
    project_id: str, asked: CreateServiceAccount, admin: AdminDep, session: SessionDep
) -> NewServiceAccount:
    """Make an account with a key, whose `value` is shown this once."""
    open_projects.get_active(session, admin.organization_id, project_id)
    if asked.create_service_account_only:
        bare = service_accounts.create_without_role(session, project_id, asked.name)
        return NewServiceAccount(**dict(ServiceAccountObject.model_validate(bare)), api_key=None)
    account = service_accounts.create(session, project_id, asked.name)
    key, secret = service_accounts.create_key(
        session, project_id, account.id, expires_in=asked.expires_in_seconds
    )
    shown = ServiceAccountObject.model_validate(account)
    return NewServiceAccount(**dict(shown), api_key=owners.serialize_new_key(key, secret))


@router.get("/{service_account_id}")
def retrieve_service_account(
    project_id: str, service_account_id: str, admin: AdminDep, session: ReadSessionDep
) -> ServiceAccountObject:
    open_projects.get(session, admin.organization_id, project_id)
    row = service_accounts.get(session, project_id, service_account_id)
    return ServiceAccountObject.model_validate(row)


@router.post("/{service_account_id}")
def modify_service_account(
    project_id: str,
    service_account_id: str,
    asked: ModifyServiceAccount,
    admin: AdminDep,
    session: SessionDep,
) -> ServiceAccountObject:
    open_projects.get_active(session, admin.organization_id, project_id)
    row = service_accounts.update(
        session, project_id, service_account_id, name=asked.name, role=asked.role
    )
    return ServiceAccountObject.model_validate(row)


@router.delete("/{service_account_id}")
def delete_service_account(
    project_id: str, service_account_id: str, admin: AdminDep, session: SessionDep
) -> ServiceAccountDeleted:
    """Delete an account; its keys stop working at once."""
    open_projects.get_active(session, admin.organization_id, project_id)
    service_accounts.delete(session, project_id, service_account_id)
    return ServiceAccountDeleted(id=service_account_id, deleted=True)


@router.post("/{service_account_id}/api_keys")
def create_service_account_key(
    project_id: str,
    service_account_id: str,
    admin: AdminDep,
    session: SessionDep,
    asked: CreateServiceAccountKey | None = None,
) -> NewServiceAccountKey:
    """Make another key for an account; its `value` is shown this once."""
    open_projects.get_active(session, admin.organization_id, project_id)
    asked = asked or CreateServiceAccountKey()
    api_keys.reject_scopes(asked.scopes)
    key, secret = service_accounts.create_key(
        session,
        project_id,
        service_account_id,
        name=asked.name,
        expires_in=asked.expires_in_seconds,
    )
    return owners.serialize_new_key(key, secret)
