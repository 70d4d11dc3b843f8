"""Database engine, sessions and transactions of a process."""

import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import orjson
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import (
    DisconnectionError,
    InterfaceError,
    InternalError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

from app.db.client_name import client_name

SessionMaker = sessionmaker[Session]
# Work to do inside a transaction.
TransactionWork = Callable[[Session], object]
T = TypeVar("T")

RETRY_INTERVAL_SECONDS = 2.0
# Key of a pooled connection's `info`, cleared when the pool replaces the connection.
USED = "used"


class DatabaseUnavailable(Exception):
    """The database is unreachable or did not respond in time. A retry may succeed."""


def create_database_engine(
    database_url: str, *, pool_size: int = 10, autocommit: bool = False
) -> Engine:
    """Create an engine for a Postgres URL as operators write it (`postgresql://…`).

    Statements time out after 10 s and idle transactions after 30 s, so that a stuck client cannot
    hold locks forever; stale connections are replaced at checkout, so that a restart of Postgres
    goes unnoticed.

    With `autocommit` each statement is its own transaction, without the round trips of BEGIN and
    COMMIT. Reads see the same as at READ COMMITTED: the data committed when their statement begins.
    Locks end with the statement that takes them.
    """
    url = make_url(database_url).set(drivername="postgresql+psycopg")
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=5,
        pool_recycle=1800,
        isolation_level="AUTOCOMMIT" if autocommit else None,
        # Errors are logged, and parameters are user data.
        hide_parameters=True,
        # Postgres writes 1e300 as an integer, which orjson could not serialize if it were one.
        json_deserializer=orjson.loads,
        connect_args={
            "connect_timeout": 5,
            "fallback_application_name": client_name(),
            # A network failure closes no connection; by default the kernel would wait for hours.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,
            "options": "-c statement_timeout=10s -c idle_in_transaction_session_timeout=30s",
        },
    )
    event.listen(engine, "checkout", _reject_stale_connection)
    return engine


def _reject_stale_connection(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
    """Make the pool replace a connection that is closed or has data to read.

    An idle connection has nothing to read until the server closes it or the kernel gives up on it;
    both are detected without a round trip. A ping per transaction would also find a server that
    vanished in the last seconds, before the kernel noticed, at the cost of that round trip.
    """
    if not record.info.get(USED):
        # A new connection that is already closed fails at its first statement. Rejecting it here
        # would only make the pool retry with other new ones.
        record.info[USED] = True
        return
    if connection.closed or _has_pending_data(connection.fileno()):
        raise DisconnectionError("The connection was closed while it was idle.")


def _has_pending_data(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def session_maker(engine: Engine) -> SessionMaker:
    """Create a session factory. Rows stay readable after commit: responses are built from them."""
    return sessionmaker(engine, expire_on_commit=False)


def transaction_maker(engine: Engine) -> SessionMaker:
    """Create a factory of transactional sessions on an engine created with `autocommit`."""
    return session_maker(engine.execution_options(isolation_level="READ COMMITTED"))


@contextmanager
def transaction(maker: SessionMaker) -> Iterator[Session]:
    """Run the block in one transaction: committed at its end, rolled back if it raises.

    Raises DatabaseUnavailable; the commit may have succeeded nevertheless.
    """
    try:
        with maker() as session, session.begin():
            yield session
    except (OperationalError, InterfaceError, InternalError, PoolTimeout) as error:
        # First line only: the statement and its values follow, and must not be logged.
        raise DatabaseUnavailable(str(error).partition("\n")[0]) from error


@contextmanager
def one_off_transaction(database_url: str) -> Iterator[Session]:
    """Run the block in one transaction on its own connection, for commands.

    Raises DatabaseUnavailable.
    """
    engine = create_database_engine(database_url, pool_size=1)
    try:
        with transaction(session_maker(engine)) as session:
            yield session
    finally:
        engine.dispose()


def retry_until_available(
    maker: SessionMaker, work: Callable[[Session], T], *, should_give_up: Callable[[], bool]
) -> T:
    """Do `work` in a transaction, and retry while the database is unavailable.

    `work` may be committed twice: if the response to a commit is lost, its outcome is unknown.
    Raises DatabaseUnavailable once `should_give_up` returns true.
    """
    while True:
        try:
            with transaction(maker) as session:
                return work(session)
        except DatabaseUnavailable:
            if should_give_up():
                raise
            time.sleep(RETRY_INTERVAL_SECONDS)
