"""Deletion hold: no stored object is deleted while a backup copies those of its snapshot.

A Postgres advisory lock: everything that deletes objects takes it shared, a backup exclusively. It
ends with its connection, so a backup that was killed holds up nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection, Engine, func, select, text
from sqlalchemy.exc import InterfaceError, OperationalError

from app.db.session import DatabaseUnavailable, SessionMaker, transaction

# Any fixed number; it names the advisory lock.
HOLD_LOCK_ID = 7_301_956
# Time that a backup waits for deletions in progress.
ACQUIRE_TIMEOUT_SECONDS = 60


class HoldUnavailable(Exception):
    """The hold cannot be taken or was lost; the message says what to do."""


@contextmanager
def permit_deletions(sessions: SessionMaker) -> Iterator[bool]:
    """Yield true if objects may be deleted in the block, false while a backup holds them.

    The lock's session is in autocommit, since deleting takes requests to the store, during which
    no transaction may be open. Raises DatabaseUnavailable.
    """
    with transaction(sessions) as session:
        session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        if not session.scalar(select(func.pg_try_advisory_lock_shared(HOLD_LOCK_ID))):
            yield False
            return
        try:
            yield True
            session.execute(select(func.pg_advisory_unlock_shared(HOLD_LOCK_ID)))
        except BaseException:
            # Close the connection: the lock would outlive this block in the pool.
            session.invalidate()
            raise


class DeletionHold:
    """A hold that was acquired. `check` it before relying on what it kept."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def check(self) -> None:
        """Raise HoldUnavailable if the hold was lost with its connection."""
        try:
            self._connection.execute(select(1))
        except (OperationalError, InterfaceError) as error:
            raise HoldUnavailable(
                "The connection to the database was lost during the backup, so objects may have "
                "been deleted meanwhile. Run the backup again: it copies only what is missing."
            ) from error


@contextmanager
def hold_deletions(engine: Engine) -> Iterator[DeletionHold]:
    """Keep all objects from being deleted during the block.

    Waits for deletions in progress. Raises HoldUnavailable, or DatabaseUnavailable.
    """
    try:
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    except OperationalError as error:
        raise DatabaseUnavailable(str(error).partition("\n")[0]) from error
    try:
        connection.execute(text(f"SET lock_timeout = '{ACQUIRE_TIMEOUT_SECONDS}s'"))
        connection.execute(text("SET statement_timeout = 0"))
        _acquire(connection)
        try:
            yield DeletionHold(connection)
        finally:
            _release(connection)
    finally:
        # Closes the connection, whose timeouts were changed, instead of returning it to the pool.
        connection.invalidate()
        connection.close()


def _acquire(connection: Connection) -> None:
    try:
        connection.execute(select(func.pg_advisory_lock(HOLD_LOCK_ID)))
    except OperationalError as error:
        raise HoldUnavailable(
            "Another backup is in progress, or a process has been deleting objects for "
            f"{ACQUIRE_TIMEOUT_SECONDS} s. Try again later."
        ) from error


def _release(connection: Connection) -> None:
    # Explicitly: Postgres notices a closed connection only some time later, and deletions that are
    # tried until then would be put off. Of a connection that was lost, the lock is gone already.
    with suppress(OperationalError, InterfaceError):
        connection.execute(select(func.pg_advisory_unlock(HOLD_LOCK_ID)))
