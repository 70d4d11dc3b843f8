"""Admin keys of an organization. They give access to the admin API and nothing else."""

from collections.abc import Sequence
from typing import Literal

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app.auth import audit_log, principals, secrets
from app.auth.audit_log import CommandUser
from app.db import pagination
from app.db.pagination import Page
from app.db.tables import AdminKey, AuditEvent
from app.errors import NotFound
from app.organization import bootstrap

PREFIX = "sk-admin-"


def create(
    session: Session, organization_id: str, name: str, *, expires_in: int | None = None
) -> tuple[AdminKey, str]:
    """Create an admin key; return it and its secret, which cannot be retrieved later.

    `expires_in` is in seconds.
    """
    secret = secrets.generate(PREFIX)
    key = AdminKey(
        organization_id=organization_id,
        **secrets.build_key_columns(secret, name=name, expires_in=expires_in),
    )
    session.add(key)
    session.flush()
    return key, secret


def ensure_working_key(
    session: Session, organization_slug: str, secret: str, *, user: str
) -> str | None:
    """Create an admin key unless `secret` works; return the new secret or None.

    `user` runs the command.
    """
    if secret and principals.authenticate_admin_key(session, secret) is not None:
        return None
    organization = bootstrap.ensure_organization(session, organization_slug)
    key, new_secret = create(session, organization.id, "first")
    actor = CommandUser(user, organization.id)
    audit_log.record(session, actor, AuditEvent.API_KEY_CREATED, key.id, data={})
    return new_secret


def list_all(session: Session) -> Sequence[AdminKey]:
    """List all admin keys of the installation, oldest first, including revoked ones."""
    return session.scalars(select(AdminKey).order_by(AdminKey.created_at, AdminKey.id)).all()


def list_for_organization(
    session: Session,
    organization_id: str,
    *,
    order: Literal["asc", "desc"],
    after: str | None,
    limit: int,
) -> Page[AdminKey]:
    """List a page of an organization's admin keys."""
    all_keys = select(AdminKey).where(AdminKey.organization_id == organization_id)
    return pagination.fetch_page_by_age(
        session,
        all_keys.where(AdminKey.revoked_at.is_(None)),
        cursor_rows=all_keys,
        after=after,
        limit=limit,
        oldest_first=order == "asc",
    )


def get(session: Session, organization_id: str, key_id: str) -> AdminKey:
    """Get an admin key of an organization. Raises NotFound, also if it is revoked."""
    key = session.scalars(
        select(AdminKey).where(*_is_active_with_id(organization_id, key_id))
    ).one_or_none()
    if key is None:
        raise _build_not_found(key_id)
    return key


def delete(session: Session, organization_id: str, key_id: str) -> None:
    """Revoke an admin key with this commit. If two calls race, one raises NotFound."""
    if not secrets.revoke(session, AdminKey, *_is_active_with_id(organization_id, key_id)):
        raise _build_not_found(key_id)


def revoke(session: Session, key_id: str) -> AdminKey | None:
    """Revoke an admin key with this commit; return None if it does not exist."""
    revoked = secrets.revoke(session, AdminKey, AdminKey.id == key_id)
    return revoked[0] if revoked else None


def _is_active_with_id(organization_id: str, key_id: str) -> tuple[ColumnElement[bool], ...]:
    return (
        AdminKey.id == key_id,
        AdminKey.organization_id == organization_id,
        AdminKey.revoked_at.is_(None),
    )


def _build_not_found(key_id: str) -> NotFound:
    return NotFound(f"No such admin API key: {key_id}", param="key_id")
