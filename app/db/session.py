"""The engine and the sessions of one process."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.orm import Session, sessionmaker

SessionMaker = sessionmaker[Session]


def connect(database_url: str, *, pool_size: int = 10) -> Engine:
    """An engine for a Postgres URL as operators write it (`postgresql://…`).

    Statements end after 10 s and idle transactions after 30 s, so that a stuck client cannot hold
    locks for ever; a connection is tried before use, so that a restart of Postgres is not seen.
    """
    url = make_url(database_url).set(drivername="postgresql+psycopg")
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=5,
        pool_pre_ping=True,
        pool_recycle=1800,
        connect_args={
            "connect_timeout": 5,
            "options": "-c statement_timeout=10s -c idle_in_transaction_session_timeout=30s",
        },
    )


def session_maker(engine: Engine) -> SessionMaker:
    """Sessions whose rows stay readable after commit: answers are made from them."""
    return sessionmaker(engine, expire_on_commit=False)


@contextmanager
def transaction(maker: SessionMaker) -> Iterator[Session]:
    """One transaction: committed at the end of the block, rolled back if it raises."""
    with maker() as session, session.begin():
        yield session
