"""Principals: the project or organization that a request's key authenticates."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from app.auth import secrets
from app.db.tables import AdminKey, ApiKey, Organization, Project

# Built once: building the statement takes longer than running it, and every request runs it.
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
    """The project that a request with an API key acts for."""

    key_id: str
    project_id: str
    organization_id: str
    # The organization part of the names of its fine-tuned models.
    organization_slug: str


@dataclass(frozen=True, slots=True)
class AdminPrincipal:
    """The organization that a request with an admin key manages."""

    key_id: str
    organization_id: str
    organization_slug: str
    organization_created_at: datetime
    # Who acts without a key: a user of the machine, or of an identity provider, in the console.
    user: str | None = None


def authenticate(session: Session, secret: str) -> Principal | AdminPrincipal | None:
    """Find the principal of a secret; None if no active key has it.

    Both kinds of keys are looked up whatever the secret's prefix, which proves nothing.
    """
    return authenticate_project_key(session, secret) or authenticate_admin_key(session, secret)


def authenticate_project_key(session: Session, secret: str) -> Principal | None:
    """Find the principal of an active API key of a project that is not archived."""
    # Not through the ORM, which would double the time: every request runs this, for columns only.
    parameters = {"digest": secrets.compute_digest(secret)}
    row = session.connection().execute(PROJECT_KEY_QUERY, parameters).one_or_none()
    if row is None:
        return None
    key_id, project_id, organization_id, slug, update_last_used = row
    if update_last_used:
        secrets.touch_last_used(session, ApiKey, key_id)
    return Principal(key_id, project_id, organization_id, slug)


def authenticate_admin_key(session: Session, secret: str) -> AdminPrincipal | None:
    """Find the principal of an active admin key."""
    parameters = {"digest": secrets.compute_digest(secret)}
    row = session.execute(ADMIN_KEY_QUERY, parameters).one_or_none()
    if row is None:
        return None
    key_id, organization_id, slug, created_at, update_last_used = row
    if update_last_used:
        secrets.touch_last_used(session, AdminKey, key_id)
    return AdminPrincipal(key_id, organization_id, slug, created_at)


def list_ended_keys(session: Session, key_ids: Collection[str]) -> set[str]:
    """List those of these API keys that are revoked, expired, or of an archived project."""
    is_ended = or_(~and_(*secrets.is_active(ApiKey)), Project.archived_at.is_not(None))
    statement = select(ApiKey.id).join(Project, Project.id == ApiKey.project_id)
    return set(session.scalars(statement.where(ApiKey.id.in_(key_ids), is_ended)))
