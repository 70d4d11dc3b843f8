"""Service accounts: the programs that act for a project, each with keys of its own."""

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app import ids
from app.auth import secrets
from app.db import pagination
from app.db.pagination import Page
from app.db.tables import ApiKey, ServiceAccount
from app.errors import InvalidRequest, NotFound
from app.organization import api_keys

# As OpenAI names a key that was given no name.
DEFAULT_KEY_NAME = "Secret Key"


def create(session: Session, project_id: str, name: str) -> ServiceAccount:
    """A new account, which may do what its project may."""
    return _add(session, project_id, name, role="member")


def create_without_role(session: Session, project_id: str, name: str) -> ServiceAccount:
    """A new account that may do nothing, and have no key, before it is given a role."""
    return _add(session, project_id, name, role="none")


def list_for_project(
    session: Session, project_id: str, *, after: str | None, limit: int
) -> Page[ServiceAccount]:
    """A page of a project's service accounts, newest first."""
    mine = select(ServiceAccount).where(ServiceAccount.project_id == project_id)
    statement = mine.where(ServiceAccount.deleted_at.is_(None))
    return pagination.page_by_age(session, statement, cursor_rows=mine, after=after, limit=limit)


def get(session: Session, project_id: str, account_id: str) -> ServiceAccount:
    """Raises NotFound."""
    return _one_or_404(session, _query(project_id, account_id), account_id)


def update(
    session: Session, project_id: str, account_id: str, *, name: str | None, role: str | None
) -> ServiceAccount:
    """Change what is given. Raises NotFound."""
    account = get(session, project_id, account_id)
    account.name = name if name is not None else account.name
    account.role = role if role is not None else account.role
    session.flush()
    return account


def create_key(
    session: Session,
    project_id: str,
    account_id: str,
    *,
    name: str | None = None,
    expires_in: int | None = None,
) -> tuple[ApiKey, str]:
    """A new key of an account, and its secret, which cannot be had again.

    Raises NotFound, and InvalidRequest for an account that may do nothing.
    """
    # Locked: a key made while its account is deleted would outlive it.
    held = _query(project_id, account_id).with_for_update(read=True)
    if _one_or_404(session, held, account_id).role == "none":
        raise InvalidRequest(
            f"The service account {account_id} has no role in its project. Give it the role "
            "'member' first.",
            param="service_account_id",
        )
    return api_keys.create(
        session,
        project_id,
        name or DEFAULT_KEY_NAME,
        service_account_id=account_id,
        expires_in=expires_in,
    )


def delete(session: Session, project_id: str, account_id: str) -> None:
    """Delete an account; its keys end with it. Raises NotFound."""
    account = _one_or_404(session, _query(project_id, account_id).with_for_update(), account_id)
    account.deleted_at = func.clock_timestamp()
    secrets.revoke(session, ApiKey, ApiKey.service_account_id == account_id)


def _add(session: Session, project_id: str, name: str, *, role: str) -> ServiceAccount:
    account = ServiceAccount(
        id=ids.service_account_id(), project_id=project_id, name=name, role=role
    )
    session.add(account)
    session.flush()
    return account


def _query(project_id: str, account_id: str) -> Select[ServiceAccount]:
    return select(ServiceAccount).where(
        ServiceAccount.id == account_id,
        ServiceAccount.project_id == project_id,
        ServiceAccount.deleted_at.is_(None),
    )


def _one_or_404(
    session: Session, statement: Select[ServiceAccount], account_id: str
) -> ServiceAccount:
    account = session.scalars(statement).one_or_none()
    if account is None:
        raise NotFound(f"No such service account: {account_id}", param="service_account_id")
    return account
