"""Connections that the server closes, and transactions on an engine that commits by itself."""

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
from app.organization import api_keys

SLUG = "acme"
# Waits for the end.
END = text("SELECT pg_terminate_backend(:pid, 5000)")


@pytest.fixture
def autocommit(sessions: SessionMaker, database_url: str) -> Iterator[Engine]:
    """One connection, to the database that `sessions` empties."""
    engine = create_database_engine(database_url, pool_size=1, autocommit=True)
    yield engine
    engine.dispose()


def known(session: Session) -> int:
    return session.scalars(select(func.count()).select_from(Organization)).one()


def pid(session: Session) -> int:
    return session.scalars(select(func.pg_backend_pid())).one()


def begin_and_fail(engine: Engine) -> None:
    with transaction(transaction_maker(engine)) as session:
        api_keys.ensure_organization(session, SLUG)
        raise LookupError


@pytest.mark.parametrize("maker", [session_maker, transaction_maker])
def test_a_connection_that_was_closed_while_idle_is_replaced(
    autocommit: Engine, session: Session, maker: Callable[[Engine], SessionMaker]
) -> None:
    with transaction(maker(autocommit)) as first:
        before = pid(first)
    assert session.scalars(END, {"pid": before}).one()
    with transaction(maker(autocommit)) as second:
        assert pid(second) != before


def test_a_silent_connection_is_used_again(autocommit: Engine) -> None:
    pids = set()
    for _ in range(3):
        with transaction(session_maker(autocommit)) as session:
            pids.add(pid(session))
    assert len(pids) == 1


def test_a_transaction_is_one_where_statements_commit_by_themselves(
    autocommit: Engine, session: Session
) -> None:
    """Also on a connection that has been used both ways."""
    with transaction(session_maker(autocommit)) as each:
        assert known(each) == 0
    with pytest.raises(LookupError):
        begin_and_fail(autocommit)
    assert known(session) == 0
    with transaction(transaction_maker(autocommit)) as whole:
        api_keys.ensure_organization(whole, SLUG)
        assert known(session) == 0
    assert known(session) == 1


def test_a_statement_is_committed_at_once(autocommit: Engine, session: Session) -> None:
    with transaction(session_maker(autocommit)) as each:
        api_keys.ensure_organization(each, SLUG)
        assert known(session) == 1
