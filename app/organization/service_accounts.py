"""Service accounts: programs with access to a project, each with its own keys."""

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app import ids
from app.auth import secrets
from app.db import pagination
from app.db.pagination import Page
from app.db.tables import ApiKey, ServiceAccount, ServiceAccountRole
from app.errors import InvalidRequest, NotFound
from app.organization import api_keys

# OpenAI's name for a key created without one.
DEFAULT_KEY_NAME = "Secret Key"


def create(session: Session, project_id: str, name: str) -> ServiceAccount:
    """Create an account with full access to its project."""
    return _add(session, project_id, name, role=ServiceAccountRole.MEMBER)


def create_without_role(session: Session, project_id: str, name: str) -> ServiceAccount:
    """Create an account that cannot have keys until it is given a role."""
    return _add(session, project_id, name, role=ServiceAccountRole.NONE)


def list_for_project(
    session: Session, project_id: str, *, after: str | None, limit: int
) -> Page[ServiceAccount]:
    """List a page of a project's service accounts, newest first."""
    all_accounts = select(ServiceAccount).where(ServiceAccount.project_id == project_id)
    statement = all_accounts.where(ServiceAccount.deleted_at.is_(None))
    return pagination.fetch_page_by_age(
        session, statement, cursor_rows=all_accounts, after=after, limit=limit
    )


def get(session: Session, project_id: str, account_id: str) -> ServiceAccount:
    """Get a service account of a project. Raises NotFound."""
    return _get_one_or_raise(session, _select_account(project_id, account_id), account_id)


def update(
    session: Session,
    project_id: str,
    account_id: str,
    *,
    name: str | None,
    role: ServiceAccountRole | None,
) -> ServiceAccount:
    """Update an account; None keeps a value. Raises NotFound."""
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
    """Create a key of an account; return it and its secret, which cannot be retrieved later.

    Raises NotFound, or InvalidRequest for an account without a role. `expires_in` is in seconds.
    """
    # Locked, or a key created while its account is being deleted would outlive it.
    statement = _select_account(project_id, account_id).with_for_update(read=True)
    if _get_one_or_raise(session, statement, account_id).role == ServiceAccountRole.NONE:
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
    """Delete an account and revoke its keys. Raises NotFound."""
    account = _get_one_or_raise(
        session, _select_account(project_id, account_id).with_for_update(), account_id
    )
    account.deleted_at = func.clock_timestamp()
    secrets.revoke(session, ApiKey, ApiKey.service_account_id == account_id)


def _add(
    session: Session, project_id: str, name: str, *, role: ServiceAccountRole
) -> ServiceAccount:
    account = ServiceAccount(
        id=ids.service_account_id(), project_id=project_id, name=name, role=role
    )
    session.add(account)
    session.flush()
    return account


def _select_account(project_id: str, account_id: str) -> Select[ServiceAccount]:
    return select(ServiceAccount).where(
        ServiceAccount.id == account_id,
        ServiceAccount.project_id == project_id,
        ServiceAccount.deleted_at.is_(None),
    )


def _get_one_or_raise(
    session: Session, statement: Select[ServiceAccount], account_id: str
) -> ServiceAccount:
    account = session.scalars(statement).one_or_none()
    if account is None:
        raise NotFound(f"No such service account: {account_id}", param="service_account_id")
    return account
