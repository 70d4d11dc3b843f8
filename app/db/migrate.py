"""Brings a database to the newest schema. Start-up and tests use this path and no other."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.exc import OperationalError

from app.db.session import DatabaseUnavailable, create_database_engine

ROOT = Path(__file__).resolve().parents[2]


def upgrade(database_url: str, *, contract: bool = True) -> None:
    """Apply all migrations that the database has not seen; does nothing on a current one.

    Without `contract` the newest ones that only take away are left out, so that processes of the
    version before work on beside those of this one. Raises DatabaseUnavailable.
    """
    config = Config(toml_file=ROOT / "pyproject.toml")
    config.set_main_option("script_location", str(ROOT / "migrations"))
    target = "head" if contract else newest_additive_revision(ScriptDirectory.from_config(config))
    engine = create_database_engine(database_url)
    try:
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, target)
    except OperationalError as error:
        raise DatabaseUnavailable(str(error).partition("\n")[0]) from error
    finally:
        engine.dispose()


def newest_additive_revision(migrations: ScriptDirectory) -> str:
    """The newest migration that only adds. One that takes away says so itself: `contracting`.

    Those of a version that take away are its last. When the next version adds to them, what they
    waited for was the version before the one that is running, and is long gone.
    """
    newest_first = migrations.walk_revisions()
    return next(m.revision for m in newest_first if not getattr(m.module, "contracting", False))
