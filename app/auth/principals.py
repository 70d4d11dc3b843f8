"""Principals: whom a request acts for, looked up by the hash of its key."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.auth import secrets
from app.db.tables import AdminKey, ApiKey, Organization, Project

# Made once: to make it takes longer than to ask it, and every request does.
PROJECT_KEY_QUERY = (
    select(
        ApiKey.id,
        Project.id,
        Organization.id,
        Organization.slug,
        secrets.needs_last_used_update(ApiKey),
    )
    .join(Project, Project.id == ApiKey.project_id)
    .join(Organization, Organization.id == Project.organization_id)
    .where(*secrets.is_active_with_digest(ApiKey), Project.archived_at.is_(None))
)


ADMIN_KEY_QUERY = (
    select(
        AdminKey.id,
        Organization.id,
        Organization.slug,
        Organization.created_at,
        secrets.needs_last_used_update(AdminKey),
    )
    .join(Organization, Organization.id == AdminKey.organization_id)
    .where(*secrets.is_active_with_digest(AdminKey))
)


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a request acts for, as its key says."""

    key_id: str
    project_id: str
    organization_id: str
    # Third part of the organization's tuned models' names.
    organization_slug: str


@dataclass(frozen=True, slots=True)
class AdminPrincipal:
    """Which organization a request manages, as its key says, and since when that is here."""

    key_id: str
    organization_id: str
    organization_slug: str
    organization_created_at: datetime


def authenticate_project_key(session: Session, secret: str) -> Principal | None:
    """Whom a secret speaks for, or None if it is no project's or cannot be used any more."""
    # Not through the ORM, which takes as long again: these are columns, and every request asks.
    asked = {"digest": secrets.digest(secret)}
    found = session.connection().execute(PROJECT_KEY_QUERY, asked).one_or_none()
    if found is None:
        return None
    key_id, project_id, organization_id, slug, due = found
    if due:
        secrets.touch_last_used(session, ApiKey, key_id)
    return Principal(key_id, project_id, organization_id, slug)


def authenticate_admin_key(session: Session, secret: str) -> AdminPrincipal | None:
    """Whom a secret speaks for, or None if it is no admin key's or cannot be used any more."""
    found = session.execute(ADMIN_KEY_QUERY, {"digest": secrets.digest(secret)}).one_or_none()
    if found is None:
        return None
    key_id, organization_id, slug, since, due = found
    if due:
        secrets.touch_last_used(session, AdminKey, key_id)
    return AdminPrincipal(key_id, organization_id, slug, since)
