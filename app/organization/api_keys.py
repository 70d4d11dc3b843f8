"""API keys of projects."""

from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from app.auth import audit_log, principals, secrets
from app.auth.audit_log import CommandUser
from app.db import pagination
from app.db.pagination import Page
from app.db.tables import ApiKey, AuditEvent
from app.errors import InvalidRequest, NotFound
from app.organization import bootstrap
from app.organization.schemas import ProjectAccess

PREFIX = "sk-luthier-"


def create(
    session: Session,
    project_id: str,
    name: str,
    *,
    service_account_id: str | None = None,
    expires_in: int | None = None,
) -> tuple[ApiKey, str]:
    """Create a key; return it and its secret, which cannot be retrieved later.

    `expires_in` is in seconds.
    """
    secret = secrets.generate(PREFIX)
    key = ApiKey(
        project_id=project_id,
        service_account_id=service_account_id,
        **secrets.build_key_columns(secret, name=name, expires_in=expires_in),
    )
    session.add(key)
    session.flush()
    return key, secret


def ensure_working_key(
    session: Session, organization_slug: str, secret: str, *, user: str
) -> str | None:
    """Create a key of the default project unless `secret` works; return the new secret or None.

    `user` runs the command.
    """
    if secret and principals.authenticate_project_key(session, secret) is not None:
        return None
    project = bootstrap.ensure_default_project(session, organization_slug)
    key, new_secret = create(session, project.id, "first")
    actor = CommandUser(user, project.organization_id)
    audit_log.record(
        session, actor, AuditEvent.API_KEY_CREATED, key.id, project_id=project.id, data={}
    )
    return new_secret


def list_all(session: Session) -> Sequence[ApiKey]:
    """List all keys of all projects, oldest first, including revoked ones."""
    return session.scalars(select(ApiKey).order_by(ApiKey.created_at, ApiKey.id)).all()


def list_for_project(
    session: Session, project_id: str, *, access: ProjectAccess, after: str | None, limit: int
) -> Page[ApiKey]:
    """List a page of a project's keys, newest first.

    All of them are active: accounts without access have no keys, nor do archived projects.
    """
    if access == ProjectAccess.INACTIVE:
        return Page([], has_more=False)
    all_keys = select(ApiKey).where(ApiKey.project_id == project_id)
    active = all_keys.where(ApiKey.revoked_at.is_(None))
    return pagination.fetch_page_by_age(
        session, active, cursor_rows=all_keys, after=after, limit=limit
    )


def get(session: Session, project_id: str, key_id: str) -> ApiKey:
    """Get a key of a project. Raises NotFound, also if it is revoked."""
    key = session.scalars(
        select(ApiKey).where(*_is_active_with_id(project_id, key_id))
    ).one_or_none()
    if key is None:
        raise _build_not_found(key_id)
    return key


def set_expiry(session: Session, project_id: str, key_id: str, expires_in: int) -> ApiKey:
    """Let a key expire `expires_in` seconds from now.

    Raises NotFound, or InvalidRequest if it has expired already.
    """
    changed = session.scalars(
        update(ApiKey)
        .where(*_is_active_with_id(project_id, key_id), *secrets.is_active(ApiKey))
        .values(expires_at=secrets.compute_expiry(expires_in))
        .returning(ApiKey),
        execution_options={"populate_existing": True},
    ).one_or_none()
    if changed is None:
        expired = get(session, project_id, key_id)
        raise InvalidRequest(
            f"The API key {expired.id} has expired and cannot be updated. Create a new one.",
            param="api_key_id",
        )
    return changed


def reject_scopes(scopes: Collection[str] | None) -> None:
    """Raise InvalidRequest for a key with restricted permissions."""
    if scopes:
        raise InvalidRequest(
            "Keys have no scopes here: each has full access to its project. Omit 'scopes'.",
            param="scopes",
        )


def delete(session: Session, project_id: str, key_id: str) -> None:
    """Revoke a project's key with this commit. If two calls race, one raises NotFound."""
    if not secrets.revoke(session, ApiKey, *_is_active_with_id(project_id, key_id)):
        raise _build_not_found(key_id)


def revoke(session: Session, key_id: str) -> ApiKey | None:
    """Revoke a key with this commit; return None if it does not exist."""
    revoked = secrets.revoke(session, ApiKey, ApiKey.id == key_id)
    return revoked[0] if revoked else None


def _is_active_with_id(project_id: str, key_id: str) -> tuple[ColumnElement[bool], ...]:
    return (ApiKey.id == key_id, ApiKey.project_id == project_id, ApiKey.revoked_at.is_(None))


def _build_not_found(key_id: str) -> NotFound:
    return NotFound(f"No such API key: {key_id}", param="api_key_id")
