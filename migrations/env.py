"""Alembic environment: runs migrations on the connection passed in, or on DATABASE_URL."""

import time

from alembic import context
from sqlalchemy import Connection, text

from app.db.base import Base
from app.db.session import create_database_engine
from app.db.tables import Job  # noqa: F401  (importing the package completes the metadata)
from app.settings import Settings

# Any fixed number; it names the advisory lock that serializes migrations of several machines.
MIGRATION_LOCK_ID = 7_301_954
LOCK_POLL_SECONDS = 0.1


def run_migrations(connection: Connection) -> None:
    connection.execute(text("SET lock_timeout = '5s'"))
    # Filling a table from a large one may take long.
    connection.execute(text("SET statement_timeout = 0"))
    connection.commit()
    acquire_lock(connection)
    try:
        context.configure(
            connection=connection, target_metadata=Base.metadata, transaction_per_migration=True
        )
        with context.begin_transaction():
            context.run_migrations()
    finally:
        connection.rollback()
        connection.execute(text(f"SELECT pg_advisory_unlock({MIGRATION_LOCK_ID})"))
        connection.commit()


def acquire_lock(connection: Connection) -> None:
    """Wait for the lock by polling.

    A statement that waits has a snapshot, and an index that is built concurrently waits for it: two
    machines that migrate at once would deadlock.
    """
    while not connection.scalar(text(f"SELECT pg_try_advisory_lock({MIGRATION_LOCK_ID})")):
        connection.commit()
        time.sleep(LOCK_POLL_SECONDS)
    connection.commit()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    run_migrations(given)
else:
    database_url = Settings().database_url
    if database_url is None:
        raise SystemExit("Set DATABASE_URL, or run `luthier migrate`.")
    with create_database_engine(database_url).connect() as own:
        run_migrations(own)
