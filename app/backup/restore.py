"""Restore a backup into an empty database and storage, and check the result.

Objects come first and rows last, in one transaction: until then the database stays empty, and an
interrupted restore can be started again.
"""

from pathlib import Path

import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from app.backup import table_copy
from app.backup.errors import BackupError, CorruptBackup, TargetInUse
from app.backup.folder import BackupFolder, read_objects, verify_file
from app.backup.manifest import Manifest, TableEntry
from app.backup.object_copy import Echo, Progress, restore_objects, verify_objects
from app.db.base import Base
from app.db.clients import list_clients
from app.db.migrate import list_known_revisions, upgrade
from app.db.session import DatabaseUnavailable, create_database_engine, session_maker, transaction
from app.jobs import restored_jobs
from app.operations import storage_identity
from app.storage import ObjectStore


def verify_backup(folder: BackupFolder, path: Path, echo: Echo) -> Manifest:
    """Check every file of a backup by its checksum, and that it can be restored here.

    Raises CorruptBackup or BackupError.
    """
    manifest = Manifest.read(path)
    if manifest.revision not in list_known_revisions():
        raise BackupError(
            f"The backup was taken by Luthier {manifest.luthier_version}, whose schema "
            f"{manifest.revision} this version does not know. Restore it with that version."
        )
    for file in [manifest.objects, *(table.file for table in manifest.tables)]:
        verify_file(path / file.path, file.bytes, file.sha256)
    verify_objects(folder, read_objects(path), Progress("Verified", echo))
    echo(
        f"All files of the backup {path.name} have their checksums: {manifest.object_count} "
        f"objects, {sum(table.rows for table in manifest.tables)} rows."
    )
    return manifest


def restore_backup(
    database_url: str,
    store: ObjectStore,
    folder: BackupFolder,
    path: Path,
    echo: Echo,
    *,
    replace: bool = False,
) -> Manifest:
    """Verify a backup, then restore it. With `replace`, existing rows are deleted.

    Raises BackupError, DatabaseUnavailable or StorageUnavailable.
    """
    with folder.lock():
        manifest = verify_backup(folder, path, echo)
        engine = create_database_engine(database_url, pool_size=1)
        try:
            check_target(engine, replace=replace)
            restore_objects(store, folder, read_objects(path), Progress("Restored", echo))
            echo(f"All {manifest.object_count} objects are in storage, as read back from it.")
        finally:
            engine.dispose()
        restore_rows(database_url, manifest, path, echo)
        storage_identity.adopt_restored(database_url, store)
    for damaged in manifest.damaged:
        echo(f"NOT in the backup, damaged before it was taken: {damaged.key}: {damaged.reason}.")
    return manifest


def check_target(engine: Engine, *, replace: bool) -> None:
    """Raise TargetInUse if the database is in use, or has rows that may not be replaced."""
    try:
        with engine.connect() as connection:
            if clients := list_clients(connection):
                processes = ", ".join(client.process for client in clients)
                raise TargetInUse(
                    f"The database is in use by Luthier's {processes}. Stop all processes first."
                )
            table_copy.prepare(connection)
            filled = [
                name
                for name in table_copy.list_tables(connection)
                if name in Base.metadata.tables and table_copy.count_rows(connection, name)
            ]
    except (OperationalError, InterfaceError) as error:
        raise DatabaseUnavailable(str(error).partition("\n")[0]) from error
    if filled and not replace:
        raise TargetInUse(
            f"The database is not empty: {', '.join(filled)} have rows. Restore into a new "
            "LUTHIER_HOME or an empty database, or delete these rows with --replace."
        )


def restore_rows(
    database_url: str, manifest: Manifest, path: Path, echo: Echo, *, requeue: bool = True
) -> None:
    """Load the rows into a schema of the backup's revision, then migrate to this version's.

    With `requeue`, jobs whose trainers are lost are requeued. Raises CorruptBackup, BackupError or
    DatabaseUnavailable.
    """
    engine = create_database_engine(database_url, pool_size=1)
    try:
        with engine.begin() as connection:
            # Without rows, whatever their revision is; `check_target` has made sure.
            names = {*Base.metadata.tables, *(table.name for table in manifest.tables)}
            table_copy.drop_tables(connection, names)
        upgrade(database_url, revision=manifest.revision)
        _load_rows(engine, manifest, path, echo)
        upgrade(database_url)
        requeued = _requeue_jobs(engine) if requeue else 0
    except (OperationalError, InterfaceError) as error:
        raise DatabaseUnavailable(str(error).partition("\n")[0]) from error
    except (DBAPIError, psycopg.Error) as error:
        reason = str(error.orig if isinstance(error, DBAPIError) else error).strip()
        raise CorruptBackup(f"The rows cannot be loaded: {reason}") from error
    finally:
        engine.dispose()
    if requeued:
        echo(f"{requeued} jobs that were training are queued, and resume at their last checkpoint.")


def _load_rows(engine: Engine, manifest: Manifest, path: Path, echo: Echo) -> None:
    with engine.connect() as connection:
        table_copy.prepare(connection)
        known = set(table_copy.list_tables(connection))
        connection.rollback()
        tables = [table for table in manifest.tables if table.name in known]
        with connection.begin():
            table_copy.import_tables(connection, tables, path)
            for table in tables:
                _check_count(connection, table)
    echo(f"Loaded {sum(table.rows for table in tables)} rows into {len(tables)} tables.")
    for table in manifest.tables:
        if table.name not in known:
            echo(f"NOT restored: the table {table.name} is not Luthier's ({table.rows} rows).")


def _check_count(connection: Connection, table: TableEntry) -> None:
    found = table_copy.count_rows(connection, table.name)
    if found != table.rows:
        raise BackupError(f"The table {table.name} has {found} rows, not {table.rows}.")


def _requeue_jobs(engine: Engine) -> int:
    with transaction(session_maker(engine)) as session:
        return restored_jobs.requeue(session)
