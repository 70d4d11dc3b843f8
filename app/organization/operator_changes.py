"""Changes of an organization by the operator's commands, each recorded in the audit log."""

from sqlalchemy.orm import Session

from app.auth import audit_log, projects
from app.auth.audit_log import CommandUser
from app.db.tables import AdminKey, ApiKey, AuditEvent, Project
from app.organization import admin_keys, api_keys, bootstrap


def create_key(
    session: Session, organization_slug: str, name: str, *, project_id: str | None, user: str
) -> str:
    """Create a key of a project, the oldest one by default; return its secret. Raises NotFound."""
    organization = bootstrap.ensure_organization(session, organization_slug)
    project = (
        bootstrap.ensure_default_project(session, organization_slug)
        if project_id is None
        else projects.get_active(session, organization.id, project_id)
    )
    key, secret = api_keys.create(session, project.id, name)
    _record(session, user, organization.id, AuditEvent.API_KEY_CREATED, key.id, project.id)
    return secret


def create_admin_key(session: Session, organization_slug: str, name: str, *, user: str) -> str:
    """Create an admin key of the organization; return its secret."""
    organization = bootstrap.ensure_organization(session, organization_slug)
    key, secret = admin_keys.create(session, organization.id, name)
    _record(session, user, organization.id, AuditEvent.API_KEY_CREATED, key.id, None)
    return secret


def revoke_key(session: Session, key_id: str, *, user: str) -> ApiKey | AdminKey | None:
    """Revoke a key of either kind with this commit; return None if it does not exist."""
    key = api_keys.revoke(session, key_id)
    if key is not None:
        owner = session.get_one(Project, key.project_id).organization_id
        _record(session, user, owner, AuditEvent.API_KEY_DELETED, key_id, key.project_id)
        return key
    admin_key = admin_keys.revoke(session, key_id)
    if admin_key is not None:
        owner = admin_key.organization_id
        _record(session, user, owner, AuditEvent.API_KEY_DELETED, key_id, None)
    return admin_key


def record_limits(session: Session, project: Project, *, user: str, **limits: int | None) -> None:
    """Record the limits that a project was given, if there are any."""
    if any(limit is not None for limit in limits.values()):
        audit_log.record(
            session,
            CommandUser(user, project.organization_id),
            AuditEvent.PROJECT_UPDATED,
            project.id,
            project_id=project.id,
            changes=limits,
        )


def _record(
    session: Session,
    user: str,
    organization_id: str,
    event: AuditEvent,
    key_id: str,
    project_id: str | None,
) -> None:
    actor = CommandUser(user, organization_id)
    audit_log.record(session, actor, event, key_id, project_id=project_id)
