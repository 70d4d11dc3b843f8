"""API keys: made once, shown once, kept as a hash; and the default organization and project."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import ids
from app.db.models import ApiKey, Organization, Project

PREFIX = "sk-luthier-"
SECRET_BYTES = 32
# `last_used_at` is for people; writing it on every request would make each one a write.
USE_NOTED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a request acts for, as its key says."""

    key_id: str
    project_id: str
    organization_id: str
    # Third part of the organization's tuned models' names.
    organization: str


def ensure_default_project(session: Session, organization: str) -> Project:
    """The oldest project of the organization with this slug; both are made if they are missing."""
    session.execute(
        insert(Organization)
        .values(id=ids.organization_id(), slug=organization)
        .on_conflict_do_nothing(index_elements=["slug"])
    )
    # The lock makes two starting processes agree on one project.
    owner = session.scalars(
        select(Organization).where(Organization.slug == organization).with_for_update()
    ).one()
    project = session.scalars(
        select(Project).where(Project.organization_id == owner.id).order_by(Project.created_at)
    ).first()
    if project is None:
        project = Project(id=ids.project_id(), organization_id=owner.id, name="default")
        session.add(project)
        session.flush()
    return project


def create(session: Session, project_id: str, name: str) -> tuple[ApiKey, str]:
    """A new key of a project, and its secret, which cannot be had again."""
    secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    key = ApiKey(
        id=ids.key_id(),
        project_id=project_id,
        name=name,
        secret_sha256=_digest(secret),
        redacted=redact(secret),
    )
    session.add(key)
    session.flush()
    return key, secret


def list_(session: Session) -> Sequence[ApiKey]:
    """All keys of the installation, oldest first, the revoked ones too."""
    return session.scalars(select(ApiKey).order_by(ApiKey.created_at, ApiKey.id)).all()


def revoke(session: Session, key_id: str) -> ApiKey | None:
    """End a key, from this commit on; None if there is no such key.

    A key that was revoked before keeps the time at which it was.
    """
    when = func.coalesce(ApiKey.revoked_at, func.clock_timestamp())
    return session.scalars(
        update(ApiKey).where(ApiKey.id == key_id).values(revoked_at=when).returning(ApiKey),
        execution_options={"populate_existing": True},
    ).one_or_none()


def authenticate(session: Session, secret: str) -> Principal | None:
    """Whom a secret speaks for, or None if it is no key's or its key was revoked.

    The lookup is by the hash: how long it takes says nothing of how near a guess came.
    """
    stale = or_(
        ApiKey.last_used_at.is_(None),
        ApiKey.last_used_at < func.clock_timestamp() - USE_NOTED_EVERY,
    )
    found = session.execute(
        select(ApiKey.id, Project.id, Organization.id, Organization.slug, stale)
        .join(Project, Project.id == ApiKey.project_id)
        .join(Organization, Organization.id == Project.organization_id)
        .where(ApiKey.secret_sha256 == _digest(secret), ApiKey.revoked_at.is_(None))
    ).one_or_none()
    if found is None:
        return None
    key_id, project_id, organization_id, slug, due = found
    if due:
        _note_use(session, key_id)
    return Principal(key_id, project_id, organization_id, slug)


def redact(secret: str) -> str:
    """Enough of a secret to tell which one it is, not enough to use it: `sk-l…abcd`."""
    if len(secret) < 12:
        return "…"
    return f"{secret[:4]}…{secret[-4:]}"


def _note_use(session: Session, key_id: str) -> None:
    session.execute(
        update(ApiKey).where(ApiKey.id == key_id).values(last_used_at=func.clock_timestamp())
    )


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
