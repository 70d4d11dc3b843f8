"""Roles of users that an identity provider vouches for, by the operator's mapping of a claim."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.auth.console_sessions import Grant
from app.db.tables import Organization, Project
from app.settings import Settings

ADMIN = "admin"
PROJECT_PREFIX = "project:"
ALL_PROJECTS = "*"
# The most that one session may switch between.
MAX_PROJECTS = 200
MAX_NAME_CHARS = 100


def find_grant(session: Session, settings: Settings, claims: Mapping[str, Any]) -> Grant | None:
    """Find the rights of a user by their claims; None for one without a role."""
    organization_id = session.scalar(
        select(Organization.id).where(Organization.slug == settings.organization_slug)
    )
    if organization_id is None:
        return None
    values = read_values(claims, settings.oidc_claim)
    roles = {role for value in values for role in settings.oidc_roles.get(value, ())}
    project_ids = _find_projects(session, organization_id, roles)
    if not project_ids and ADMIN not in roles:
        return None
    return Grant(
        organization_id=organization_id,
        project_id=project_ids[0] if project_ids else None,
        project_ids=tuple(project_ids),
        is_admin=ADMIN in roles,
        subject=describe_user(claims),
    )


def read_values(claims: Mapping[str, Any], name: str) -> list[str]:
    """Read the values of a claim, by its name or by a path of names; other types are no values.

    An address counts only if the provider has verified it: users of some may enter any.
    """
    value = claims.get(name)
    if value is None:
        value = claims
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
    if name == "email" and claims.get("email_verified") is not True:
        return []
    values = value if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, str)]


def describe_user(claims: Mapping[str, Any]) -> str:
    """The user for logs and the audit log: a name that people know, and the provider's own id, the
    only one that no other user can get."""
    names = (claims.get(name) for name in ("preferred_username", "email", "name"))
    # Postgres refuses NUL and surrogates, and other characters that cannot be seen would deceive
    # readers of the logs.
    texts = ("".join(filter(str.isprintable, name)) for name in names if isinstance(name, str))
    name = next(filter(None, texts), None)
    subject = str(claims["sub"])[:255]
    return subject if name is None else f"{name[:MAX_NAME_CHARS]} ({subject})"


def _find_projects(session: Session, organization_id: str, roles: set[str]) -> Sequence[str]:
    names = [role.removeprefix(PROJECT_PREFIX) for role in roles if role != ADMIN]
    if not names:
        return []
    statement = (
        select(Project.id)
        .where(Project.organization_id == organization_id, Project.archived_at.is_(None))
        .order_by(Project.name, Project.id)
        .limit(MAX_PROJECTS)
    )
    if ALL_PROJECTS not in names:
        statement = statement.where(Project.id.in_(names) | Project.name.in_(names))
    return session.scalars(statement).all()
