"""Export and import of tables in the text format of Postgres's COPY.

psycopg's cursor is used directly, since SQLAlchemy has no interface to COPY.
"""

import gzip
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from psycopg import sql
from sqlalchemy import Connection, text

from app.backup.errors import CorruptBackup
from app.backup.folder import CHUNK_BYTES, describe_file, write_compressed
from app.backup.manifest import TableEntry

VERSION_TABLE = "alembic_version"
# The text format depends on these.
FORMAT_SETTINGS = {
    "client_encoding": "UTF8",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
SELECT_TABLES = """
SELECT relname FROM pg_class
WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace AND relname <> :version
ORDER BY relname
"""
SELECT_COLUMNS = """
SELECT attname FROM pg_attribute
WHERE attrelid = CAST(:name AS regclass) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
ORDER BY attnum
"""
SELECT_FOREIGN_KEYS = """
SELECT conrelid::regclass::text, quote_ident(conname), pg_get_constraintdef(oid)
FROM pg_constraint
WHERE contype = 'f' AND connamespace = current_schema()::regnamespace
"""
SELECT_SEQUENCES = """
SELECT relname, attname, sequence FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid,
    pg_get_serial_sequence(quote_ident(relname), attname) AS sequence
WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
AND attnum > 0 AND NOT attisdropped AND sequence IS NOT NULL
"""
SELECT_TRIGGER_FUNCTIONS = """
SELECT DISTINCT tgfoid::regprocedure::text
FROM pg_trigger JOIN pg_class AS table_class ON table_class.oid = tgrelid
WHERE NOT tgisinternal AND relnamespace = current_schema()::regnamespace
AND relname = ANY(:names)
"""


def prepare(connection: Connection) -> None:
    """Set what the text format depends on; a copy takes as long as it takes."""
    for name, value in FORMAT_SETTINGS.items():
        parameters = {"name": name, "value": value}
        connection.execute(text("SELECT set_config(:name, :value, false)"), parameters)
    connection.commit()


def list_tables(connection: Connection) -> list[str]:
    """List the tables of the schema, except Alembic's."""
    return list(connection.scalars(text(SELECT_TABLES), {"version": VERSION_TABLE}))


def lock_tables(connection: Connection, tables: Sequence[str]) -> None:
    """Keep migrations from changing tables until the transaction ends.

    As the transaction's first statement it comes before its snapshot.
    """
    names = sql.SQL(", ").join(map(sql.Identifier, tables))
    _cursor(connection).execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(names))


def export_table(connection: Connection, name: str, folder: Path) -> TableEntry:
    """Write a table's rows into a backup's folder."""
    columns = _list_columns(connection, name)
    path = f"tables/{name}.copy.gz"
    query = sql.SQL("COPY {} ({}) TO STDOUT").format(*_identifiers(name, columns))
    cursor = _cursor(connection)
    with write_compressed(folder / path) as file, cursor.copy(query) as copy:
        for block in copy:
            file.write(block)
    return TableEntry(name, columns, cursor.rowcount, describe_file(folder, path))


def import_tables(connection: Connection, tables: Sequence[TableEntry], folder: Path) -> None:
    """Load all tables in the connection's transaction. Raises CorruptBackup.

    Without triggers, since what they would derive is among the rows; foreign keys are checked once
    all rows are loaded.
    """
    with _without_constraints(connection, [table.name for table in tables]):
        for table in tables:
            _import_table(connection, table, folder)
    for table, column, sequence in connection.execute(text(SELECT_SEQUENCES)).all():
        statement = "SELECT setval({}, coalesce(max({}), 0) + 1, false) FROM {}"
        _cursor(connection).execute(
            sql.SQL(statement).format(
                sql.Literal(sequence), sql.Identifier(column), sql.Identifier(table)
            )
        )


def _import_table(connection: Connection, table: TableEntry, folder: Path) -> None:
    query = sql.SQL("COPY {} ({}) FROM STDIN").format(*_identifiers(table.name, table.columns))
    cursor = _cursor(connection)
    with gzip.open(folder / table.file.path, "rb") as file, cursor.copy(query) as copy:
        while block := file.read(CHUNK_BYTES):
            copy.write(block)
    if cursor.rowcount != table.rows:
        raise CorruptBackup(
            f"The table {table.name} has {cursor.rowcount} rows in the backup, not {table.rows}."
        )


@contextmanager
def _without_constraints(connection: Connection, tables: Sequence[str]) -> Iterator[None]:
    foreign_keys = connection.execute(text(SELECT_FOREIGN_KEYS)).all()
    for table, name, _ in foreign_keys:
        connection.execute(text(f"ALTER TABLE {table} DROP CONSTRAINT {name}"))
    _set_triggers(connection, tables, "DISABLE")
    yield
    _set_triggers(connection, tables, "ENABLE")
    for table, name, definition in foreign_keys:
        connection.execute(text(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}"))


def _set_triggers(connection: Connection, tables: Sequence[str], action: str) -> None:
    for name in tables:
        statement = sql.SQL(f"ALTER TABLE {{}} {action} TRIGGER USER").format(sql.Identifier(name))
        _cursor(connection).execute(statement)


def drop_tables(connection: Connection, tables: Iterable[str]) -> None:
    """Drop these tables and Alembic's, with the functions of their triggers."""
    existing = set(list_tables(connection)) & set(tables)
    functions = connection.scalars(text(SELECT_TRIGGER_FUNCTIONS), {"names": list(existing)}).all()
    for name in [*sorted(existing), VERSION_TABLE]:
        statement = sql.SQL("DROP TABLE IF EXISTS {} CASCADE").format(sql.Identifier(name))
        _cursor(connection).execute(statement)
    for function in functions:
        connection.execute(text(f"DROP FUNCTION {function}"))


def count_rows(connection: Connection, table: str) -> int:
    query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
    row = _cursor(connection).execute(query).fetchone()
    return int(row[0])


def _list_columns(connection: Connection, name: str) -> tuple[str, ...]:
    identifier = connection.dialect.identifier_preparer.quote(name)
    return tuple(connection.scalars(text(SELECT_COLUMNS), {"name": identifier}))


def _identifiers(table: str, columns: Sequence[str]) -> tuple[sql.Composable, sql.Composable]:
    return sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))


def _cursor(connection: Connection) -> Any:
    """A cursor of the driver, in SQLAlchemy's transaction on this connection."""
    driver = connection.connection.driver_connection
    assert driver is not None
    return driver.cursor()
