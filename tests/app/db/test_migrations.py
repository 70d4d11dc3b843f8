"""The migrations are one line of history, and what they make is what the models say."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, make_url, text

from app.db.base import Base
from app.db.migrate import ROOT, upgrade


def test_there_is_one_newest_migration() -> None:
    heads = ScriptDirectory(ROOT / "migrations").get_heads()
    assert len(heads) == 1, f"two changes were made beside each other: {heads}"


def test_they_make_what_the_models_say(database: Engine) -> None:
    with database.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Base.metadata) == []


def test_what_the_version_before_needs_goes_only_when_asked(database_url: str) -> None:
    url = make_url(database_url).set(drivername="postgresql+psycopg")
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text("CREATE DATABASE expanding"))
    fresh = url.set(database="expanding")
    given = fresh.set(drivername="postgresql").render_as_string(hide_password=False)
    engine = create_engine(fresh)
    try:
        upgrade(given, contract=False)
        assert "ix_jobs_metadata" in indexes(engine)
        upgrade(given)
        assert "ix_jobs_metadata" not in indexes(engine)
        upgrade(given, contract=False)
        assert "ix_jobs_metadata" not in indexes(engine), "nothing is brought back"
    finally:
        engine.dispose()
        with server.connect() as connection:
            connection.execute(text("DROP DATABASE expanding WITH (FORCE)"))
        server.dispose()


def indexes(engine: Engine) -> set[str | None]:
    return {index["name"] for index in inspect(engine).get_indexes("jobs")}
