"""The engine and the sessions of one process."""

import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

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

SessionMaker = sessionmaker[Session]
# What is done in a transaction.
TransactionWork = Callable[[Session], object]
T = TypeVar("T")

RETRY_INTERVAL_SECONDS = 2.0
# Noted with a connection of the pool, and forgotten with it.
USED = "used"


class DatabaseUnavailable(Exception):
    """The database cannot be reached, or did not answer in time. Trying again may help."""


def create_database_engine(
    database_url: str, *, pool_size: int = 10, autocommit: bool = False
) -> Engine:
    """An engine for a Postgres URL as operators write it (`postgresql://…`).

    Statements end after 10 s and idle transactions after 30 s, so that a stuck client cannot hold
    locks for ever; no closed connection is used, so that a restart of Postgres is not seen.

    With `autocommit` each statement is a transaction of its own, without the round trips of BEGIN
    and COMMIT. What only reads sees the same as at READ COMMITTED: what is committed when its
    statement begins. Locks end with the statement that takes them.
    """
    url = make_url(database_url).set(drivername="postgresql+psycopg")
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=5,
        pool_recycle=1800,
        isolation_level="AUTOCOMMIT" if autocommit else None,
        # Errors are logged, and values are what users sent.
        hide_parameters=True,
        connect_args={
            "connect_timeout": 5,
            # A cut cable sends no goodbye, and the kernel would wait for hours.
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
    """Have the pool replace a connection that is closed, or on which there is something to read.

    An idle connection is silent until the server closes it or the kernel gives it up, and both can
    be heard without asking. A ping would also find a server that went without a word in the last
    seconds, before the kernel knows; it costs each transaction a round trip.
    """
    if not record.info.get(USED):
        # A new one that is closed already is for its statement to tell: as often as the pool would
        # try others, they would be no better.
        record.info[USED] = True
        return
    if connection.closed or _has_pending_data(connection.fileno()):
        raise DisconnectionError("The connection was closed while it was idle.")


def _has_pending_data(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def session_maker(engine: Engine) -> SessionMaker:
    """Sessions whose rows stay readable after commit: answers are made from them."""
    return sessionmaker(engine, expire_on_commit=False)


def transaction_maker(engine: Engine) -> SessionMaker:
    """As `session_maker`, of an engine that was connected with `autocommit`."""
    return session_maker(engine.execution_options(isolation_level="READ COMMITTED"))


@contextmanager
def transaction(maker: SessionMaker) -> Iterator[Session]:
    """One transaction: committed at the end of the block, rolled back if it raises.

    Raises DatabaseUnavailable; the commit may then have happened nevertheless.
    """
    try:
        with maker() as session, session.begin():
            yield session
    except (OperationalError, InterfaceError, InternalError, PoolTimeout) as error:
        # Its first line: the statement and its values follow, and are not for logs.
        raise DatabaseUnavailable(str(error).partition("\n")[0]) from error


@contextmanager
def one_off_transaction(database_url: str) -> Iterator[Session]:
    """One transaction on a connection of its own, for commands. Raises DatabaseUnavailable."""
    engine = create_database_engine(database_url, pool_size=1)
    try:
        with transaction(session_maker(engine)) as session:
            yield session
    finally:
        engine.dispose()


def retry_until_available(
    maker: SessionMaker, work: Callable[[Session], T], *, should_give_up: Callable[[], bool]
) -> T:
    """Do `work` in a transaction, again and again while the database is away.

    It may run twice to the end: of a commit whose answer was lost nobody knows whether it happened.
    Raises DatabaseUnavailable once `give_up` says so.
    """
    while True:
        try:
            with transaction(maker) as session:
                return work(session)
        except DatabaseUnavailable:
            if should_give_up():
                raise
            time.sleep(RETRY_INTERVAL_SECONDS)
