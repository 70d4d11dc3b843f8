"""Leader election by a Postgres advisory lock: of several processes one runs the periodic tasks."""

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
def leader_lock(sessions: SessionMaker) -> Iterator[Session | None]:
    """Try to become leader for the block: yields the lock's session, or None if another leads.

    The session is in autocommit: its connection idles while tasks run, and an idle transaction
    would be ended by Postgres and hold back vacuum. The lock ends with the connection, and Postgres
    ends the connection of a leader that froze or was cut off. Raises DatabaseUnavailable.
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
            # error the lock, would stay with it.
            session.invalidate()
