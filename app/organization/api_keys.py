"""Keys of projects, and the default organization and project."""

from collections.abc import Collection, Sequence
from typing import Literal

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import ids
from app.auth import principals, secrets
from app.db import pagination
from app.db.pagination import Page
from app.db.tables import ApiKey, Organization, Project
from app.errors import InvalidRequest, NotFound

PREFIX = "sk-luthier-"
ProjectAccess = Literal["active", "inactive", "any"]


def ensure_organization(session: Session, slug: str) -> Organization:
    """The organization with this slug, its row locked; made if it is missing."""
    session.execute(
        insert(Organization)
        .values(id=ids.organization_id(), slug=slug)
        .on_conflict_do_nothing(index_elements=["slug"])
    )
    return session.scalars(
        select(Organization).where(Organization.slug == slug).with_for_update()
    ).one()


def ensure_default_project(session: Session, organization: str) -> Project:
    """The oldest project of the organization that is not archived; made if there is none."""
    # Its lock makes two starting processes agree on one project.
    owner = ensure_organization(session, organization)
    project = session.scalars(
        select(Project)
        .where(Project.organization_id == owner.id, Project.archived_at.is_(None))
        .order_by(Project.created_at)
    ).first()
    if project is None:
        project = Project(id=ids.project_id(), organization_id=owner.id, name="default")
        session.add(project)
        session.flush()
    return project


def create(
    session: Session,
    project_id: str,
    name: str,
    *,
    service_account_id: str | None = None,
    expires_in: int | None = None,
) -> tuple[ApiKey, str]:
    """A new key of a project, and its secret, which cannot be had again."""
    secret = secrets.generate(PREFIX)
    key = ApiKey(
        project_id=project_id,
        service_account_id=service_account_id,
        **secrets.new_key_columns(secret, name=name, expires_in=expires_in),
    )
    session.add(key)
    session.flush()
    return key, secret


def ensure_working_key(session: Session, organization: str, known: str) -> str | None:
    """The secret of a new key of the default project; None if `known` is that of a usable key."""
    if known and principals.authenticate_project_key(session, known) is not None:
        return None
    project = ensure_default_project(session, organization)
    return create(session, project.id, "first")[1]


def list_all(session: Session) -> Sequence[ApiKey]:
    """All keys of all projects, oldest first, the revoked ones too."""
    return session.scalars(select(ApiKey).order_by(ApiKey.created_at, ApiKey.id)).all()


def list_for_project(
    session: Session, project_id: str, *, access: ProjectAccess, after: str | None, limit: int
) -> Page[ApiKey]:
    """A page of the keys that a project has, newest first.

    All of them give access: those of an account without it do not exist, and a project that is
    archived has none.
    """
    if access == "inactive":
        return Page([], has_more=False)
    mine = select(ApiKey).where(ApiKey.project_id == project_id)
    statement = mine.where(ApiKey.revoked_at.is_(None))
    return pagination.page_by_age(session, statement, cursor_rows=mine, after=after, limit=limit)


def get(session: Session, project_id: str, key_id: str) -> ApiKey:
    """A key of a project, revoked ones left out. Raises NotFound."""
    key = session.scalars(select(ApiKey).where(*_active_by_id(project_id, key_id))).one_or_none()
    if key is None:
        raise _not_found(key_id)
    return key


def set_expiry(session: Session, project_id: str, key_id: str, expires_in: int) -> ApiKey:
    """Have a key expire so many seconds from now, sooner or later than it would have.

    Raises NotFound, and InvalidRequest for one that has expired.
    """
    changed = session.scalars(
        update(ApiKey)
        .where(*_active_by_id(project_id, key_id), *secrets.is_active(ApiKey))
        .values(expires_at=secrets.expiry_in(expires_in))
        .returning(ApiKey),
        execution_options={"populate_existing": True},
    ).one_or_none()
    if changed is None:
        expired = get(session, project_id, key_id)
        raise InvalidRequest(
            f"The API key {expired.id} has expired and cannot be updated. Make a new one.",
            param="api_key_id",
        )
    return changed


def reject_scopes(scopes: Collection[str] | None) -> None:
    """Raises InvalidRequest for a key that is to do less than its project may."""
    if scopes:
        raise InvalidRequest(
            "Keys have no scopes here: each may do all that its project may. Leave out 'scopes'.",
            param="scopes",
        )


def delete(session: Session, project_id: str, key_id: str) -> None:
    """End a key of a project, from this commit on. Raises NotFound: of two at once, for one."""
    if not secrets.revoke(session, ApiKey, *_active_by_id(project_id, key_id)):
        raise _not_found(key_id)


def revoke(session: Session, key_id: str) -> ApiKey | None:
    """End a key, from this commit on; None if there is no such key."""
    revoked = secrets.revoke(session, ApiKey, ApiKey.id == key_id)
    return revoked[0] if revoked else None


def _active_by_id(project_id: str, key_id: str) -> tuple[ColumnElement[bool], ...]:
    return (ApiKey.id == key_id, ApiKey.project_id == project_id, ApiKey.revoked_at.is_(None))


def _not_found(key_id: str) -> NotFound:
    return NotFound(f"No such API key: {key_id}", param="api_key_id")
