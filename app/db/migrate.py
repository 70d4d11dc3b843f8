"""Schema migrations, the only way in which start-up, commands and tests create a schema.

A migration's module declares its compatibility with processes of the previous version:

* by default it only adds to the schema, and they keep working;
* `contracting = True`: it drops what only they use, and must wait until they have ended;
* `requires_downtime = True`: it renames or changes what both versions use, so no process of the
  previous version may run meanwhile.
"""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy.exc import OperationalError

from app.db.client_name import MIGRATIONS, Client
from app.db.clients import list_clients
from app.db.session import DatabaseUnavailable, create_database_engine

ROOT = Path(__file__).resolve().parents[2]
# The first schema whose backups can be restored.
OLDEST_RESTORABLE_REVISION = "0016"


class DowntimeRequired(Exception):
    """The schema cannot be upgraded while processes of the previous version run."""


def upgrade(
    database_url: str,
    *,
    contract: bool = True,
    revision: str = "head",
    migrations: Path = MIGRATIONS,
) -> None:
    """Apply all pending migrations, up to `revision`; does nothing on a current schema.

    Without `contract` the trailing contracting ones are skipped, so that processes of the previous
    version keep working. Raises DowntimeRequired, with nothing applied, if another migration rules
    that out, or if processes are connected that a migration would break, or DatabaseUnavailable.
    """
    config = _make_config(migrations)
    scripts = ScriptDirectory.from_config(config)
    target = revision if contract else find_newest_additive_revision(scripts)
    engine = create_database_engine(database_url)
    try:
        with engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
            clients = list_clients(connection)
            connection.rollback()
            pending = _list_pending(scripts, current, target)
            if contract:
                _check_clients(pending, clients)
            else:
                _check_no_downtime(pending)
            config.attributes["connection"] = connection
            command.upgrade(config, target)
    except OperationalError as error:
        raise DatabaseUnavailable(str(error).partition("\n")[0]) from error
    finally:
        engine.dispose()


def list_known_revisions(migrations: Path = MIGRATIONS) -> list[str]:
    """List the revisions of all migrations, oldest first."""
    newest_first = ScriptDirectory.from_config(_make_config(migrations)).walk_revisions()
    return [migration.revision for migration in newest_first][::-1]


def _make_config(migrations: Path) -> Config:
    config = Config(toml_file=ROOT / "pyproject.toml")
    config.set_main_option("script_location", str(migrations))
    return config


def find_newest_additive_revision(scripts: ScriptDirectory) -> str:
    """Find the newest revision that is not contracting.

    Contracting migrations are the last ones of a version. Once the next version adds migrations
    after them, the processes they waited for are two versions old and have ended.
    """
    newest_first = scripts.walk_revisions()
    return next(m.revision for m in newest_first if not _has_flag(m.module, "contracting"))


def _list_pending(scripts: ScriptDirectory, current: str | None, target: str) -> list[Script]:
    """List the migrations to apply, newest first; none of an empty database can hurt anyone."""
    if current is None:
        return []
    applied = {m.revision for m in scripts.iterate_revisions(current, "base")}
    return [m for m in scripts.iterate_revisions(target, "base") if m.revision not in applied]


def _check_no_downtime(pending: Sequence[Script]) -> None:
    blocking = [m.doc for m in pending if _has_flag(m.module, "requires_downtime")]
    if blocking:
        raise DowntimeRequired(
            "This upgrade needs downtime, since the previous version cannot run on the new schema "
            f"({'; '.join(blocking)}). Stop all processes of the previous version, back up the "
            "database, run `luthier migrate` without --expand, and start the new version."
        )


def _check_clients(pending: Sequence[Script], clients: Sequence[Client]) -> None:
    """Raise DowntimeRequired if processes run that a pending migration would break."""
    broken: set[Client] = set()
    for migration in pending:
        flags = ("requires_downtime", "contracting")
        if any(_has_flag(migration.module, flag) for flag in flags):
            # Processes of versions that have the migration need nothing of what it changes. They
            # may be other machines that migrate at this moment.
            broken.update(c for c in clients if c.revision < migration.revision)
    if broken:
        processes = ", ".join(sorted(client.process for client in broken))
        raise DowntimeRequired(
            f"Processes still run that cannot work with the new schema: {processes}. "
            "Stop them, and run `luthier migrate` again. Nothing was changed."
        )


def _has_flag(migration: ModuleType, name: str) -> bool:
    return bool(getattr(migration, name, False))
