"""OpenAI's admin API: projects, API keys, service accounts and admin keys of an organization."""

from fastapi import APIRouter
from sqlalchemy.orm import Session

from app.auth import audit_log
from app.auth.principals import AdminPrincipal
from app.db.tables import ApiKey, AuditEvent, ServiceAccount
from app.http.dependencies import (
    AdminDep,
    AdminPageLimit,
    AfterCursor,
    ProjectDep,
    ProjectOrArchivedDep,
    ReadSessionDep,
    SessionDep,
)
from app.http.idempotency import IDEMPOTENT, IDEMPOTENT_BY_KEY, IdempotentRoute
from app.organization import api_keys, projects, serializers, service_accounts
from app.organization.schemas import (
    ApiKeyDeleted,
    ApiKeyList,
    ApiKeyObject,
    CreateProject,
    CreateServiceAccount,
    CreateServiceAccountKey,
    ModifyApiKey,
    ModifyProject,
    ModifyServiceAccount,
    NewServiceAccount,
    NewServiceAccountKey,
    ProjectAccess,
    ProjectList,
    ProjectObject,
    ServiceAccountDeleted,
    ServiceAccountList,
    ServiceAccountObject,
)
from app.wire.base import page_cursors

router = APIRouter(prefix="/v1/organization", tags=["organization"], route_class=IdempotentRoute)


@router.get("/projects")
def list_projects(
    admin: AdminDep,
    session: ReadSessionDep,
    limit: AdminPageLimit = 20,
    after: AfterCursor = None,
    include_archived: bool = False,
) -> ProjectList:
    """List projects, newest first."""
    page = projects.list_for_organization(
        session, admin.organization_id, include_archived=include_archived, after=after, limit=limit
    )
    data = [serializers.serialize_project(row) for row in page.rows]
    return ProjectList(data=data, has_more=page.has_more, **page_cursors(data))


@router.post("/projects", dependencies=[IDEMPOTENT])
def create_project(body: CreateProject, admin: AdminDep, session: SessionDep) -> ProjectObject:
    row = projects.create(session, admin.organization_id, body.name)
    audit_log.record(
        session,
        admin,
        AuditEvent.PROJECT_CREATED,
        row.id,
        project_id=row.id,
        data={"name": row.name, "title": row.name},
    )
    return serializers.serialize_project(row)


@router.get("/projects/{project_id}")
def retrieve_project(project: ProjectOrArchivedDep) -> ProjectObject:
    return serializers.serialize_project(project)


@router.post("/projects/{project_id}", dependencies=[IDEMPOTENT_BY_KEY])
def modify_project(
    body: ModifyProject, admin: AdminDep, project: ProjectDep, session: SessionDep
) -> ProjectObject:
    projects.rename(session, project, body.name)
    audit_log.record(
        session,
        admin,
        AuditEvent.PROJECT_UPDATED,
        project.id,
        project_id=project.id,
        changes={"title": body.name},
    )
    return serializers.serialize_project(project)


@router.post("/projects/{project_id}/archive", dependencies=[IDEMPOTENT_BY_KEY])
def archive_project(project_id: str, admin: AdminDep, session: SessionDep) -> ProjectObject:
    """Archive a project permanently: cancel its jobs, revoke its keys and service accounts."""
    row = projects.archive(session, admin.organization_id, project_id)
    audit_log.record(session, admin, AuditEvent.PROJECT_ARCHIVED, row.id, project_id=row.id)
    return serializers.serialize_project(row)


@router.get("/projects/{project_id}/api_keys")
def list_api_keys(
    admin: AdminDep,
    project: ProjectOrArchivedDep,
    session: SessionDep,
    limit: AdminPageLimit = 20,
    after: AfterCursor = None,
    owner_project_access: ProjectAccess = ProjectAccess.ANY,
) -> ApiKeyList:
    """List API keys, newest first."""
    page = api_keys.list_for_project(
        session, project.id, access=owner_project_access, after=after, limit=limit
    )
    data = [serializers.serialize_key(row, admin) for row in page.rows]
    return ApiKeyList(data=data, has_more=page.has_more, **page_cursors(data))


@router.get("/projects/{project_id}/api_keys/{api_key_id}")
def retrieve_api_key(
    api_key_id: str, admin: AdminDep, project: ProjectOrArchivedDep, session: SessionDep
) -> ApiKeyObject:
    return serializers.serialize_key(api_keys.get(session, project.id, api_key_id), admin)


@router.post("/projects/{project_id}/api_keys/{api_key_id}")
def modify_api_key(
    api_key_id: str,
    body: ModifyApiKey,
    admin: AdminDep,
    project: ProjectDep,
    session: SessionDep,
) -> ApiKeyObject:
    """Change when a key expires, counted from now."""
    api_keys.reject_scopes(body.scopes)
    if body.expires_in_seconds is not None:
        api_keys.set_expiry(session, project.id, api_key_id, body.expires_in_seconds)
    changed = {"expires_in_seconds": body.expires_in_seconds, "scopes": body.scopes}
    audit_log.record(
        session,
        admin,
        AuditEvent.API_KEY_UPDATED,
        api_key_id,
        project_id=project.id,
        changes=changed,
    )
    return serializers.serialize_key(api_keys.get(session, project.id, api_key_id), admin)


@router.delete("/projects/{project_id}/api_keys/{api_key_id}")
def delete_api_key(
    api_key_id: str, admin: AdminDep, project: ProjectOrArchivedDep, session: SessionDep
) -> ApiKeyDeleted:
    """Delete a key. It stops working at once."""
    api_keys.delete(session, project.id, api_key_id)
    audit_log.record(session, admin, AuditEvent.API_KEY_DELETED, api_key_id, project_id=project.id)
    return ApiKeyDeleted(id=api_key_id, deleted=True)


@router.get("/projects/{project_id}/service_accounts")
def list_service_accounts(
    project: ProjectDep,
    session: SessionDep,
    limit: AdminPageLimit = 20,
    after: AfterCursor = None,
) -> ServiceAccountList:
    """List service accounts, newest first."""
    page = service_accounts.list_for_project(session, project.id, after=after, limit=limit)
    data = [ServiceAccountObject.model_validate(row) for row in page.rows]
    return ServiceAccountList(data=data, has_more=page.has_more, **page_cursors(data))


@router.post("/projects/{project_id}/service_accounts")
def create_service_account(
    body: CreateServiceAccount, admin: AdminDep, project: ProjectDep, session: SessionDep
) -> NewServiceAccount:
    """Create an account with a key, whose `value` is shown only once."""
    if body.create_service_account_only:
        account = service_accounts.create_without_role(session, project.id, body.name)
        _record_new_account(session, admin, account)
        return serializers.serialize_new_service_account(account, None)
    account = service_accounts.create(session, project.id, body.name)
    _record_new_account(session, admin, account)
    key, secret = service_accounts.create_key(
        session, project.id, account.id, expires_in=body.expires_in_seconds
    )
    _record_new_key(session, admin, key)
    return serializers.serialize_new_service_account(
        account, serializers.serialize_new_key(key, secret)
    )


@router.get("/projects/{project_id}/service_accounts/{service_account_id}")
def retrieve_service_account(
    service_account_id: str, project: ProjectOrArchivedDep, session: SessionDep
) -> ServiceAccountObject:
    row = service_accounts.get(session, project.id, service_account_id)
    return ServiceAccountObject.model_validate(row)


@router.post("/projects/{project_id}/service_accounts/{service_account_id}")
def modify_service_account(
    service_account_id: str,
    body: ModifyServiceAccount,
    admin: AdminDep,
    project: ProjectDep,
    session: SessionDep,
) -> ServiceAccountObject:
    row = service_accounts.update(
        session, project.id, service_account_id, name=body.name, role=body.role
    )
    audit_log.record(
        session,
        admin,
        AuditEvent.SERVICE_ACCOUNT_UPDATED,
        row.id,
        project_id=project.id,
        changes={"name": body.name, "role": body.role},
    )
    return ServiceAccountObject.model_validate(row)


@router.delete("/projects/{project_id}/service_accounts/{service_account_id}")
def delete_service_account(
    service_account_id: str, admin: AdminDep, project: ProjectDep, session: SessionDep
) -> ServiceAccountDeleted:
    """Delete an account. Its keys stop working at once."""
    service_accounts.delete(session, project.id, service_account_id)
    audit_log.record(
        session,
        admin,
        AuditEvent.SERVICE_ACCOUNT_DELETED,
        service_account_id,
        project_id=project.id,
    )
    return ServiceAccountDeleted(id=service_account_id, deleted=True)


@router.post("/projects/{project_id}/service_accounts/{service_account_id}/api_keys")
def create_service_account_key(
    service_account_id: str,
    admin: AdminDep,
    project: ProjectDep,
    session: SessionDep,
    body: CreateServiceAccountKey | None = None,
) -> NewServiceAccountKey:
    """Create another key for an account; its `value` is shown only once."""
    body = body or CreateServiceAccountKey()
    api_keys.reject_scopes(body.scopes)
    key, secret = service_accounts.create_key(
        session,
        project.id,
        service_account_id,
        name=body.name,
        expires_in=body.expires_in_seconds,
    )
    _record_new_key(session, admin, key)
    return serializers.serialize_new_key(key, secret)


def _record_new_account(session: Session, admin: AdminPrincipal, account: ServiceAccount) -> None:
    audit_log.record(
        session,
        admin,
        AuditEvent.SERVICE_ACCOUNT_CREATED,
        account.id,
        project_id=account.project_id,
        data={"role": account.role},
    )


def _record_new_key(session: Session, admin: AdminPrincipal, key: ApiKey) -> None:
    audit_log.record(
        session, admin, AuditEvent.API_KEY_CREATED, key.id, project_id=key.project_id, data={}
    )
