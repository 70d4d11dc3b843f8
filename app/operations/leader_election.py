"""Leader election by a Postgres advisory lock: one of several processes runs the periodic tasks."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.db.session import SessionMaker, transaction

# Any fixed number; it names the leader's advisory lock.
LEADER_LOCK_ID = 7_301_955
# Longer than any task takes.
LEADER_IDLE_TIMEOUT_SECONDS = 30


@contextmanager
def acquire_leader_lock(sessions: SessionMaker) -> Iterator[Session | None]:
    """Try to become leader for the block; yield the lock's session, or None if another leads.

    The session is in autocommit: its connection idles while tasks run, and Postgres would end an
    idle transaction, which also delays vacuum. The lock ends with the connection, and Postgres
    closes the connection of a leader that froze or lost the network. Raises DatabaseUnavailable.
    """
    with transaction(sessions) as session:
        session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        if not session.scalar(select(func.pg_try_advisory_lock(LEADER_LOCK_ID))):
            yield None
            return
        try:
            session.execute(text(f"SET idle_session_timeout = '{LEADER_IDLE_TIMEOUT_SECONDS}s'"))
            yield session
            # Unlock explicitly: Postgres may take a while to notice that a connection was closed.
            session.execute(select(func.pg_advisory_unlock(LEADER_LOCK_ID)))
        finally:
            # Close the connection instead of returning it to the pool: the timeout, and after an
            # error the lock, would outlive this block.
            session.invalidate()
