"""Sessions of the web console: a random secret in a cookie that stands for a user's keys.

The keys themselves are not kept: a session refers to them by id, and ends when they do.
"""

import hashlib
import hmac
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import and_, bindparam, delete, func, or_, select, update
from sqlalchemy.orm import Session

from app import ids
from app.auth import principals, secrets
from app.auth.principals import AdminPrincipal, Principal
from app.db.tables import (
    AdminKey,
    ApiKey,
    ConsoleLoginCode,
    ConsoleSession,
    Organization,
    Project,
)

SESSION_PREFIX = "csess-"
SESSION_SECONDS = 12 * 3600
MAX_SECRET_CHARS = 100
# Rights that sessions and log-in codes have columns for.
SHARED_COLUMNS = (
    "organization_id", "project_id", "is_admin", "api_key_id", "admin_key_id", "subject",
)  # fmt: skip

# Built once: every request of the console runs it. Each row has the session's roles that are still
# valid: a role ends with its key, and a project's also when the project is archived.
IDENTITY_QUERY = (
    select(
        ConsoleSession.id,
        ConsoleSession.subject,
        ConsoleSession.project_ids,
        ConsoleSession.expires_at,
        Organization.id,
        Organization.slug,
        Organization.created_at,
        Project.id,
        Project.name,
        ApiKey.id,
        and_(
            ConsoleSession.is_admin,
            or_(ConsoleSession.admin_key_id.is_(None), AdminKey.id.is_not(None)),
        ),
        AdminKey.id,
    )
    .join(Organization, Organization.id == ConsoleSession.organization_id)
    .outerjoin(ApiKey, and_(ApiKey.id == ConsoleSession.api_key_id, *secrets.is_active(ApiKey)))
    .outerjoin(
        Project,
        and_(
            Project.id == ConsoleSession.project_id,
            Project.archived_at.is_(None),
            or_(ConsoleSession.api_key_id.is_(None), ApiKey.id.is_not(None)),
        ),
    )
    .outerjoin(
        AdminKey, and_(AdminKey.id == ConsoleSession.admin_key_id, *secrets.is_active(AdminKey))
    )
    .where(
        ConsoleSession.secret_sha256 == bindparam("digest"),
        ConsoleSession.revoked_at.is_(None),
        ConsoleSession.expires_at > func.clock_timestamp(),
    )
)


@dataclass(frozen=True, slots=True)
class ConsoleIdentity:
    """The user of a session: a project's member, an admin of the organization, or both."""

    session_id: str
    expires_at: datetime
    # Must come with each request that changes something; derived from the session's secret, which
    # other sites cannot read.
    csrf_token: str
    project: Principal | None
    project_name: str | None
    admin: AdminPrincipal | None
    # A user of the machine, or of an identity provider; None for a user who logged in with a key.
    subject: str | None
    # More than one of them if the user may switch between projects.
    project_ids: tuple[str, ...] = ()

    @property
    def principal(self) -> Principal | AdminPrincipal:
        """The role that the console's own limits are counted for."""
        principal = self.project or self.admin
        assert principal is not None
        return principal


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The rights that a session gets at its start. `subject` is None for those of keys."""

    organization_id: str
    project_id: str | None = None
    api_key_id: str | None = None
    is_admin: bool = False
    admin_key_id: str | None = None
    subject: str | None = None
    # The session may switch to each of them.
    project_ids: tuple[str, ...] = ()
    # Of a session that another key was added to; it does not begin anew by that.
    expires_at: datetime | None = None

    @classmethod
    def of(cls, row: ConsoleSession | ConsoleLoginCode) -> "Grant":
        """The rights that sessions and codes both have columns for."""
        return cls(**{name: getattr(row, name) for name in SHARED_COLUMNS})

    def to_columns(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in SHARED_COLUMNS}


def authenticate(session: Session, secret: str) -> ConsoleIdentity | None:
    """Find the user of a session's secret; None if the session has ended or has no role left."""
    if not secret.startswith(SESSION_PREFIX) or len(secret) > MAX_SECRET_CHARS:
        return None
    parameters = {"digest": secrets.compute_digest(secret)}
    row = session.connection().execute(IDENTITY_QUERY, parameters).one_or_none()
    if row is None:
        return None
    (
        session_id,
        subject,
        project_ids,
        expires_at,
        organization_id,
        slug,
        organization_created_at,
        project_id,
        project_name,
        api_key_id,
        is_admin,
        admin_key_id,
    ) = row
    if project_id is None and not is_admin:
        return None
    return ConsoleIdentity(
        session_id=session_id,
        expires_at=expires_at,
        csrf_token=compute_csrf_token(secret),
        project=None
        if project_id is None
        else Principal(api_key_id or session_id, project_id, organization_id, slug),
        project_name=project_name,
        admin=AdminPrincipal(
            admin_key_id or session_id,
            organization_id,
            slug,
            organization_created_at,
            user=None if admin_key_id else subject,
        )
        if is_admin
        else None,
        subject=subject,
        project_ids=tuple(project_ids or ()),
    )


def compute_csrf_token(secret: str) -> str:
    """Derive the token of a session's forms: an HMAC, from which the secret cannot be computed."""
    return hmac.new(secret.encode(), b"csrf", hashlib.sha256).hexdigest()


def find_grant(session: Session, key: str) -> Grant | None:
    """Find the rights of an API key or admin key; None if no active key has this secret."""
    principal = principals.authenticate(session, key)
    if isinstance(principal, Principal):
        return Grant(
            organization_id=principal.organization_id,
            project_id=principal.project_id,
            api_key_id=principal.key_id,
        )
    if isinstance(principal, AdminPrincipal):
        return Grant(
            organization_id=principal.organization_id,
            is_admin=True,
            admin_key_id=principal.key_id,
        )
    return None


def merge(current: Grant | None, added: Grant) -> Grant:
    """Add the role of another key of the same organization; the added one replaces its own kind."""
    if current is None or current.organization_id != added.organization_id:
        return added
    has_project = added.project_id is not None
    return Grant(
        organization_id=added.organization_id,
        project_id=added.project_id if has_project else current.project_id,
        api_key_id=added.api_key_id if has_project else current.api_key_id,
        is_admin=added.is_admin or current.is_admin,
        admin_key_id=added.admin_key_id if added.is_admin else current.admin_key_id,
        subject=added.subject or current.subject,
        project_ids=added.project_ids or current.project_ids,
        expires_at=current.expires_at,
    )


def end_for_another(session: Session, identity: ConsoleIdentity) -> Grant | None:
    """End a session that another one takes the place of; return the rights that it was started
    with, or None if it has ended already."""
    owner_id = identity.principal.organization_id
    # `revoke_all` waits for this lock: otherwise it would not see the session that comes next.
    session.get_one(Organization, owner_id, with_for_update={"read": True, "key_share": True})
    if not revoke(session, identity.session_id, owner_id):
        return None
    row = session.get_one(ConsoleSession, identity.session_id)
    return replace(
        Grant.of(row), project_ids=tuple(row.project_ids or ()), expires_at=row.expires_at
    )


def create(session: Session, grant: Grant) -> str:
    """Start a session; return its secret, for the cookie."""
    secret = secrets.generate(SESSION_PREFIX)
    session.add(
        ConsoleSession(
            id=ids.console_session_id(),
            secret_sha256=secrets.compute_digest(secret),
            **grant.to_columns(),
            project_ids=list(grant.project_ids) or None,
            expires_at=grant.expires_at or secrets.compute_expiry(SESSION_SECONDS),
        )
    )
    session.flush()
    return secret


def list_projects(session: Session, identity: ConsoleIdentity) -> list[tuple[str, str]]:
    """List ids and names of the projects that the session may switch to, by name."""
    statement = (
        select(Project.id, Project.name)
        .where(Project.id.in_(identity.project_ids), Project.archived_at.is_(None))
        .order_by(Project.name, Project.id)
    )
    return [(project_id, name) for project_id, name in session.execute(statement)]


def switch_project(session: Session, identity: ConsoleIdentity, project_id: str) -> str | None:
    """Go on with a new session, for another of the user's projects; return its secret, or None for
    a project that is not among them, and for a session that has ended meanwhile.

    With the old one end the CSRF tokens of its pages, which would act on the other project now.
    """
    if project_id not in dict(list_projects(session, identity)):
        return None
    grant = end_for_another(session, identity)
    if grant is None:
        return None
    # It is the user's own right, not that of a key that was typed since the log-in.
    return create(session, replace(grant, project_id=project_id, api_key_id=None))


def revoke(session: Session, session_id: str, organization_id: str) -> bool:
    """End a session of an organization with this commit; False if it has ended already."""
    statement = (
        update(ConsoleSession)
        .where(
            ConsoleSession.id == session_id,
            ConsoleSession.organization_id == organization_id,
            ConsoleSession.revoked_at.is_(None),
            ConsoleSession.expires_at > func.clock_timestamp(),
        )
        .values(revoked_at=func.clock_timestamp())
        .returning(ConsoleSession.id)
    )
    return session.scalar(statement) is not None


def revoke_all(session: Session, organization_id: str) -> int:
    """End all sessions of an organization with this commit; returns their number."""
    # Waits for sessions that are being started, and keeps others from it until the commit.
    session.get_one(Organization, organization_id, with_for_update=True)
    statement = (
        update(ConsoleSession)
        .where(
            ConsoleSession.organization_id == organization_id, ConsoleSession.revoked_at.is_(None)
        )
        .values(revoked_at=func.clock_timestamp())
        .returning(ConsoleSession.id)
    )
    return len(session.scalars(statement).all())


def delete_expired(session: Session, *, limit: int) -> int:
    """Delete a batch of sessions and codes whose time is over."""
    count = 0
    for table in (ConsoleSession, ConsoleLoginCode):
        digest = table.secret_sha256
        batch = select(digest).where(table.expires_at < func.clock_timestamp()).limit(limit)
        deleted = delete(table).where(digest.in_(batch)).returning(digest)
        count += len(session.execute(deleted).all())
    return count
