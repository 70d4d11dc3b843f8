"""Processes of Luthier that are connected to the database, as pg_stat_activity shows them."""

from sqlalchemy import Connection, text

from app.db.client_name import Client, client_name

SELECT_NAMES = """
SELECT DISTINCT application_name FROM pg_stat_activity
WHERE datname = current_database() AND application_name <> :own
ORDER BY application_name
"""


def list_clients(connection: Connection) -> list[Client]:
    """List the other processes that are connected.

    Every process polls the database or keeps connections to it, so none stays unseen for long.
    Processes of versions that did not name their connections are not listed.
    """
    names = connection.scalars(text(SELECT_NAMES), {"own": client_name()})
    return [client for name in names if (client := Client.parse(name)) is not None]
