"""Stale pooled connections, and transactions on an autocommit engine."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session

from app.db.session import (
    SessionMaker,
    create_database_engine,
    session_maker,
    transaction,
    transaction_maker,
)
from app.db.tables import Organization
from app.organization import bootstrap

SLUG = "acme"
# With a timeout the call waits until the backend has ended.
TERMINATE = text("SELECT pg_terminate_backend(:pid, 5000)")


@pytest.fixture
def autocommit(sessions: SessionMaker, database_url: str) -> Iterator[Engine]:
    """An autocommit engine with one connection, to the database that `sessions` cleans."""
    engine = create_database_engine(database_url, pool_size=1, autocommit=True)
    yield engine
    engine.dispose()


def count_organizations(session: Session) -> int:
    return session.scalars(select(func.count()).select_from(Organization)).one()


def get_pid(session: Session) -> int:
    return session.scalars(select(func.pg_backend_pid())).one()


def begin_and_fail(engine: Engine) -> None:
    with transaction(transaction_maker(engine)) as session:
        bootstrap.ensure_organization(session, SLUG)
        raise LookupError


@pytest.mark.parametrize("maker", [session_maker, transaction_maker])
def test_a_connection_that_was_closed_while_idle_is_replaced(
    autocommit: Engine, session: Session, maker: Callable[[Engine], SessionMaker]
) -> None:
    with transaction(maker(autocommit)) as first:
        before = get_pid(first)
    assert session.scalars(TERMINATE, {"pid": before}).one()
    with transaction(maker(autocommit)) as second:
        assert get_pid(second) != before


def test_an_idle_connection_is_reused(autocommit: Engine) -> None:
    pids = set()
    for _ in range(3):
        with transaction(session_maker(autocommit)) as session:
            pids.add(get_pid(session))
    assert len(pids) == 1


def test_transactions_are_atomic_on_an_autocommit_engine(
    autocommit: Engine, session: Session
) -> None:
    """Including on a connection that was used in autocommit before."""
    with transaction(session_maker(autocommit)) as own_session:
        assert count_organizations(own_session) == 0
    with pytest.raises(LookupError):
        begin_and_fail(autocommit)
    assert count_organizations(session) == 0
    with transaction(transaction_maker(autocommit)) as whole:
        bootstrap.ensure_organization(whole, SLUG)
        assert count_organizations(session) == 0
    assert count_organizations(session) == 1


def test_autocommit_commits_each_statement(autocommit: Engine, session: Session) -> None:
    with transaction(session_maker(autocommit)) as own_session:
        bootstrap.ensure_organization(own_session, SLUG)
        assert count_organizations(session) == 1
