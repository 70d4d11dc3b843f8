"""Processes of Luthier that are connected to the database, as pg_stat_activity shows them."""

from sqlalchemy import Connection, text

from app.db.session import CLIENT_NAME, CLIENT_NAME_PREFIX

SELECT_CLIENTS = """
SELECT DISTINCT application_name FROM pg_stat_activity
WHERE datname = current_database() AND starts_with(application_name, :prefix)
AND application_name <> :own
ORDER BY application_name
"""


def list_clients(connection: Connection) -> list[str]:
    """List the other processes that are connected: `pid 123 on host`.

    Every process polls the database or keeps connections to it, so none stays unseen for long.
    Processes of versions that do not name their connections are not listed.
    """
    parameters = {"prefix": CLIENT_NAME_PREFIX, "own": CLIENT_NAME}
    names = connection.scalars(text(SELECT_CLIENTS), parameters)
    return [name.removeprefix(CLIENT_NAME_PREFIX) for name in names]
