"""Brings a database to the newest schema. Start-up and tests use this path and no other."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.exc import OperationalError

from app.db.session import DatabaseUnavailable, connect

ROOT = Path(__file__).resolve().parents[2]


def upgrade(database_url: str) -> None:
    """Apply all migrations that the database has not seen; does nothing on a current one.

    Raises DatabaseUnavailable.
    """
    config = Config(toml_file=ROOT / "pyproject.toml")
    config.set_main_option("script_location", str(ROOT / "migrations"))
    engine = connect(database_url)
    try:
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except OperationalError as error:
        raise DatabaseUnavailable(str(error).partition("\n")[0]) from error
    finally:
        engine.dispose()
