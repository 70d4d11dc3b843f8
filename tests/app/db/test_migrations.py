"""The migrations are one line of history, and what they make is what the models say."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from app.db.base import Base
from app.db.migrate import ROOT


def test_there_is_one_newest_migration() -> None:
    heads = ScriptDirectory(ROOT / "migrations").get_heads()
    assert len(heads) == 1, f"two changes were made beside each other: {heads}"


def test_they_make_what_the_models_say(database: Engine) -> None:
    with database.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Base.metadata) == []
