"""Take a backup of a running or stopped service."""

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import Connection, Engine, func, select, text
from sqlalchemy.exc import InterfaceError, OperationalError

from app.backup import table_copy
from app.backup.errors import BackupError
from app.backup.folder import BackupFolder, write_objects
from app.backup.manifest import Manifest, TableEntry
from app.backup.needed_objects import NeededObject, find_needed_objects
from app.backup.object_copy import Copied, Echo, Progress, copy_objects
from app.db.deletion_hold import hold_deletions
from app.db.migrate import OLDEST_RESTORABLE_REVISION, list_known_revisions
from app.db.session import (
    DatabaseUnavailable,
    create_database_engine,
    session_maker,
    transaction,
)
from app.operations import periodic_task_runs, storage_identity
from app.operations.periodic_task_runs import TaskName
from app.storage import ObjectStore, VerifiedStore
from app.storage.atomic_files import fsync_directory

NAME_FORMAT = "%Y%m%dT%H%M%SZ"
STORE_CHECK_INTERVAL_SECONDS = 30.0
# `luthier doctor` calls the last backup late after three of these intervals.
BACKUP_INTERVAL_SECONDS = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Rows of one snapshot, and the objects that they need."""

    taken_at: datetime
    revision: str
    postgres_version: str
    tables: tuple[TableEntry, ...]
    needed: list[NeededObject]


def create_backup(
    database_url: str, store: ObjectStore, folder: BackupFolder, echo: Echo, *, keep: int = 0
) -> tuple[Path, Manifest]:
    """Take a backup; returns its folder and manifest. `keep` 0 keeps all earlier backups,
    and so does damage found in storage.

    Raises BackupError, HoldUnavailable, DatabaseUnavailable or StorageUnavailable; the folder then
    has no new backup, and the next call uses what was copied.
    """
    engine = create_database_engine(database_url, pool_size=2)
    try:
        with folder.lock(), hold_deletions(engine) as hold:
            folder.remove_incomplete()
            path = folder.backups / "incomplete"
            snapshot = _take_snapshot(engine, path)
            echo(f"Read {sum(table.rows for table in snapshot.tables)} rows of the database.")
            progress = Progress("Copied", echo, hold.check)
            verified = _verify_store(engine, store)
            copied = copy_objects(verified, folder, snapshot.needed, progress)
            # Without the hold until now, an object could have been deleted before it was copied.
            hold.check()
            manifest = _build_manifest(path, snapshot, copied)
            path = path.rename(folder.backups / _choose_name(folder, snapshot.taken_at))
            fsync_directory(folder.backups)
            manifest.write(path)
            _report(copied, manifest, echo)
            # An older backup may have what is damaged now.
            if keep and not manifest.damaged:
                for name in folder.keep_newest(keep):
                    echo(f"Removed the old backup {name}.")
        _record_success(engine)
    except OSError as error:
        raise BackupError(f"{folder.path} cannot be written to: {error}") from error
    finally:
        engine.dispose()
    return path, manifest


def export_rows(database_url: str, path: Path) -> Manifest:
    """Write all rows of a database that nothing else uses into a folder, without objects.

    Raises BackupError or DatabaseUnavailable.
    """
    engine = create_database_engine(database_url, pool_size=2)
    try:
        return _build_manifest(path, _take_snapshot(engine, path, with_objects=False), Copied())
    finally:
        engine.dispose()


def _take_snapshot(engine: Engine, path: Path, *, with_objects: bool = True) -> Snapshot:
    try:
        with engine.connect() as connection:
            table_copy.prepare(connection)
            tables = table_copy.list_tables(connection)
            connection.rollback()
            if not tables:
                raise BackupError("The database is empty; there is nothing to back up.")
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            table_copy.prepare(connection)
            table_copy.lock_tables(connection, tables)
            return _read_snapshot(connection, tables, path, with_objects=with_objects)
    except (OperationalError, InterfaceError) as error:
        raise DatabaseUnavailable(str(error).partition("\n")[0]) from error


def _read_snapshot(
    connection: Connection, tables: list[str], path: Path, *, with_objects: bool
) -> Snapshot:
    oldest = OLDEST_RESTORABLE_REVISION if with_objects else None
    revision = _check_revision(connection, oldest=oldest)
    taken_at = connection.scalar(select(func.clock_timestamp()))
    postgres_version = connection.scalar(text("SHOW server_version"))
    needed = find_needed_objects(connection) if with_objects else []
    entries = tuple(table_copy.export_table(connection, name, path) for name in tables)
    assert isinstance(taken_at, datetime)
    return Snapshot(taken_at, revision, str(postgres_version), entries, needed)


def _check_revision(connection: Connection, *, oldest: str | None) -> str:
    """Return the schema's revision. Raises BackupError for one that this version does not know."""
    revision = connection.scalar(text(f"SELECT version_num FROM {table_copy.VERSION_TABLE}"))
    known = list_known_revisions()
    if revision not in known:
        raise BackupError(
            f"The database has the schema {revision} of a newer version of Luthier. "
            "Back it up with that version."
        )
    if oldest is not None and known.index(revision) < known.index(oldest):
        raise BackupError(
            f"The database has the schema {revision} of a version before backups. Stop the "
            "service and run `luthier migrate` first."
        )
    return str(revision)


def _verify_store(engine: Engine, store: ObjectStore) -> ObjectStore:
    """The store, whose objects count as missing only while it has the database's marker.

    Raises DatabaseUnavailable.
    """
    with transaction(session_maker(engine)) as session:
        marker = storage_identity.find_marker(session)
    if marker is None:
        return store
    return VerifiedStore(store, lambda: marker, interval_seconds=STORE_CHECK_INTERVAL_SECONDS)


def _build_manifest(path: Path, snapshot: Snapshot, copied: Copied) -> Manifest:
    return Manifest(
        created_at=snapshot.taken_at.astimezone(UTC).isoformat(),
        luthier_version=version("luthier"),
        postgres_version=snapshot.postgres_version,
        revision=snapshot.revision,
        tables=snapshot.tables,
        objects=write_objects(path, copied.objects),
        object_count=len(copied.objects),
        object_bytes=sum(entry.bytes for entry in copied.objects),
        damaged=tuple(sorted(copied.damaged, key=lambda damaged: damaged.key)),
    )


def _choose_name(folder: BackupFolder, taken_at: datetime) -> str:
    """Name a backup by its time; of two in one second the later gets a number."""
    name = taken_at.astimezone(UTC).strftime(NAME_FORMAT)
    same = sum(path.name.startswith(name) for path in folder.complete())
    return f"{name}-{same + 1}" if same else name


def _report(copied: Copied, manifest: Manifest, echo: Echo) -> None:
    echo(
        f"Copied {copied.new_count} new objects ({copied.new_bytes / 2**20:.1f} MiB) of "
        f"{manifest.object_count} ({manifest.object_bytes / 2**20:.1f} MiB)."
    )
    for damaged in manifest.damaged:
        echo(f"DAMAGED in storage, and not in the backup: {damaged.key}: {damaged.reason}.")


def _record_success(engine: Engine) -> None:
    """Record the time of the backup, for `luthier doctor` and /metrics."""
    with transaction(session_maker(engine)) as session:
        periodic_task_runs.record_success(session, {TaskName.BACKUP: BACKUP_INTERVAL_SECONDS})
