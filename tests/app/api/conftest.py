"""A served API with a real database, broker and store, a key for it, and clients with that key."""

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
import structlog
from openai import OpenAI
from structlog.processors import KeyValueRenderer

from app.api.deps import Parts
from app.db.session import SessionMaker, transaction
from app.main import create_app
from app.services import keys
from app.services.keys import Principal
from app.settings import Settings
from tests.app.api.serving import Engine, served
from tests.conftest import ROOT


@dataclass(frozen=True)
class Api:
    """A served API; `parts` are those that its requests work with."""

    url: str
    parts: Parts


@dataclass(frozen=True)
class Account:
    """A project with a key."""

    secret: str
    who: Principal


@pytest.fixture(scope="session", autouse=True)
def _quiet() -> Iterator[None]:
    """The servers log when they like, also between tests, where nothing gathers their lines."""
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, KeyValueRenderer()],
        logger_factory=structlog.ReturnLoggerFactory(),
    )
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def running_engine() -> Iterator[Engine]:
    engine = Engine()
    with served(engine.app()) as url:
        engine.url = url
        yield engine


@pytest.fixture(scope="session")
def api(
    tmp_path_factory: pytest.TempPathFactory,
    database_url: str,
    redis_url: str,
    running_engine: Engine,
) -> Iterator[Api]:
    settings = Settings(
        luthier_home=tmp_path_factory.mktemp("home"),
        database_url=database_url,
        redis_url=redis_url,
        models_file=ROOT / "tests/app/api/models.toml",
        s3_bucket=None,
        engine_url=running_engine.url,
        max_file_bytes=4 * 2**20,
        max_body_bytes=2**20,
    )
    app = create_app(settings)
    with served(app) as url:
        yield Api(url, app.state.parts)


@pytest.fixture
def engine(running_engine: Engine) -> Engine:
    running_engine.loaded.clear()
    running_engine.bodies.clear()
    running_engine.aborted.clear()
    running_engine.healthy = True
    return running_engine


def open_account(sessions: SessionMaker, organization: str) -> Account:
    with transaction(sessions) as session:
        project = keys.ensure_default_project(session, organization)
        secret = keys.create(session, project.id, "test")[1]
        who = keys.authenticate(session, secret)
    assert who is not None
    return Account(secret, who)


@pytest.fixture
def account(sessions: SessionMaker) -> Account:
    return open_account(sessions, "acme")


@pytest.fixture
def http(api: Api, account: Account) -> Iterator[httpx.Client]:
    with client_of(api, account) as client:
        yield client


@pytest.fixture
def stranger(api: Api, sessions: SessionMaker) -> Iterator[httpx.Client]:
    """A client of another organization."""
    with client_of(api, open_account(sessions, "others")) as client:
        yield client


def client_of(api: Api, account: Account) -> httpx.Client:
    headers = {"Authorization": f"Bearer {account.secret}"}
    return httpx.Client(base_url=api.url, headers=headers, timeout=20)


@pytest.fixture
def openai(api: Api, account: Account) -> Iterator[OpenAI]:
    with OpenAI(
        base_url=f"{api.url}/v1",
        api_key=account.secret,
        max_retries=0,
        timeout=20,
        _strict_response_validation=True,
    ) as client:
        yield client
