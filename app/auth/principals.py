"""Principals: whom a request acts for, looked up by the hash of its key."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.auth import secrets
from app.db.tables import AdminKey, ApiKey, Organization, Project

# Made once: to make it takes longer than to ask it, and every request does.
OPENED = (
    select(ApiKey.id, Project.id, Organization.id, Organization.slug, secrets.unnoted(ApiKey))
    .join(Project, Project.id == ApiKey.project_id)
    .join(Organization, Organization.id == Project.organization_id)
    .where(*secrets.opened(ApiKey), Project.archived_at.is_(None))
)


ADMIN_OPENED = (
    select(
        AdminKey.id,
        Organization.id,
        Organization.slug,
        Organization.created_at,
        secrets.unnoted(AdminKey),
    )
    .join(Organization, Organization.id == AdminKey.organization_id)
    .where(*secrets.opened(AdminKey))
)


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a request acts for, as its key says."""

    key_id: str
    project_id: str
    organization_id: str
    # Third part of the organization's tuned models' names.
    organization: str


@dataclass(frozen=True, slots=True)
class Admin:
    """Which organization a request manages, as its key says, and since when that is here."""

    key_id: str
    organization_id: str
    organization: str
    since: datetime


def authenticate(session: Session, secret: str) -> Principal | None:
    """Whom a secret speaks for, or None if it is no project's or cannot be used any more."""
    # Not through the ORM, which takes as long again: these are columns, and every request asks.
    asked = {"digest": secrets.digest(secret)}
    found = session.connection().execute(OPENED, asked).one_or_none()
    if found is None:
        return None
    key_id, project_id, organization_id, slug, due = found
    if due:
        secrets.note_use(session, ApiKey, key_id)
    return Principal(key_id, project_id, organization_id, slug)


def authenticate_admin(session: Session, secret: str) -> Admin | None:
    """Whom a secret speaks for, or None if it is no admin key's or cannot be used any more."""
    found = session.execute(ADMIN_OPENED, {"digest": secrets.digest(secret)}).one_or_none()
    if found is None:
        return None
    key_id, organization_id, slug, since, due = found
    if due:
        secrets.note_use(session, AdminKey, key_id)
    return Admin(key_id, organization_id, slug, since)
