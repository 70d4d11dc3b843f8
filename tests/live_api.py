"""Fixtures: the API served with a real database, broker and store; accounts and clients for it."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import structlog
from openai import OpenAI
from structlog.processors import KeyValueRenderer

from app.auth import principals
from app.auth.principals import Principal
from app.db.session import SessionMaker, transaction
from app.http.dependencies import AppState
from app.main import create_app
from app.monitoring.recorder import TrafficRecorder
from app.organization import admin_keys, api_keys, bootstrap
from app.settings import Settings
from app.stored_completions.recorder import CompletionRecorder
from tests import http_client
from tests.conftest import ROOT
from tests.live_server import MODEL_FACTS, FakeEngine, run_server


@dataclass(frozen=True)
class Api:
    """The API on a port, with its application state."""

    url: str
    state: AppState
    recorder: TrafficRecorder
    completions: CompletionRecorder


@dataclass(frozen=True)
class Account:
    """A project with a key."""

    secret: str
    principal: Principal


@pytest.fixture(scope="session")
def _quiet() -> Iterator[None]:
    """Discard what the servers log between tests, when nothing captures it."""
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, KeyValueRenderer()],
        logger_factory=structlog.ReturnLoggerFactory(),
    )
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def running_engine() -> Iterator[FakeEngine]:
    engine = FakeEngine()
    with run_server(engine.app()) as url:
        engine.url = url
        yield engine


@pytest.fixture(scope="session")
def running_api(
    tmp_path_factory: pytest.TempPathFactory,
    database_url: str,
    redis_url: str,
    running_engine: FakeEngine,
    _quiet: None,
) -> Iterator[Api]:
    settings = Settings(
        home=tmp_path_factory.mktemp("home"),
        database_url=database_url,
        redis_url=redis_url,
        models_file=ROOT / "tests/models.toml",
        s3_bucket=None,
        engine_url=running_engine.url,
        max_file_bytes=4 * 2**20,
        max_body_bytes=2**20,
        webhook_allowed_networks="127.0.0.1",
    )
    app = create_app(settings)
    with run_server(app) as url:
        # Adopts the storage while the database is empty. Later, the rows of whichever test comes
        # first would name objects that the storage does not have.
        app.state.shared.store.check()
        yield Api(url, app.state.shared, app.state.recorder, app.state.completion_recorder)


@pytest.fixture
def api(running_api: Api, sessions: SessionMaker) -> Iterator[Api]:
    """The API over an empty database. Traffic is flushed, so that no test sees another's."""
    yield running_api
    running_api.recorder.flush()
    running_api.completions.flush()


@pytest.fixture
def engine(running_engine: FakeEngine) -> FakeEngine:
    running_engine.loaded.clear()
    running_engine.bodies.clear()
    running_engine.unload_requests = queue.SimpleQueue()
    running_engine.aborted.clear()
    running_engine.healthy = True
    running_engine.facts = MODEL_FACTS
    return running_engine


def create_account(sessions: SessionMaker, organization: str) -> Account:
    with transaction(sessions) as session:
        project = bootstrap.ensure_default_project(session, organization)
        secret = api_keys.create(session, project.id, "test")[1]
        principal = principals.authenticate_project_key(session, secret)
    assert principal is not None
    return Account(secret, principal)


@pytest.fixture
def account(sessions: SessionMaker) -> Account:
    return create_account(sessions, "acme")


@pytest.fixture
def http(api: Api, account: Account) -> Iterator[httpx.Client]:
    with client_for(api, account) as client:
        yield client


@pytest.fixture
def other_tenant(api: Api, sessions: SessionMaker) -> Iterator[httpx.Client]:
    """A client of another organization."""
    with client_for(api, create_account(sessions, "others")) as client:
        yield client


@contextmanager
def serve_with(api: Api, account: Account, **changes: Any) -> Iterator[httpx.Client]:
    """Serve another API process with other settings; yields a client of it."""
    settings = api.state.settings.model_copy(update=changes)
    headers = {"Authorization": f"Bearer {account.secret}"}
    with (
        run_server(create_app(settings)) as url,
        httpx.Client(base_url=url, headers=headers, timeout=http_client.TIMEOUT_SECONDS) as client,
    ):
        yield client


def client_for(api: Api, account: Account) -> httpx.Client:
    return client_with_secret(api, account.secret)


def client_with_secret(api: Api, secret: str) -> httpx.Client:
    """A client with a key of either kind."""
    headers = {"Authorization": f"Bearer {secret}"}
    return httpx.Client(base_url=api.url, headers=headers, timeout=http_client.TIMEOUT_SECONDS)


def create_admin_key(sessions: SessionMaker, organization: str) -> str:
    """The secret of a new admin key."""
    with transaction(sessions) as session:
        owner = bootstrap.ensure_organization(session, organization)
        return admin_keys.create(session, owner.id, "test")[1]


@pytest.fixture
def openai(api: Api, account: Account) -> Iterator[OpenAI]:
    with openai_client(api, account.secret) as client:
        yield client


@pytest.fixture
def admin_secret(sessions: SessionMaker, account: Account) -> str:
    return create_admin_key(sessions, account.principal.organization_slug)


@pytest.fixture
def admin(api: Api, admin_secret: str) -> Iterator[OpenAI]:
    """The official client with an admin key of the account's organization."""
    with openai_client(api, admin_secret) as client:
        yield client


@pytest.fixture
def admin_http(api: Api, admin_secret: str) -> Iterator[httpx.Client]:
    with client_with_secret(api, admin_secret) as client:
        yield client


def openai_client(api: Api, secret: str) -> OpenAI:
    """The official client. It sends `admin_api_key` to admin routes, `api_key` to all others."""
    return OpenAI(
        base_url=f"{api.url}/v1",
        api_key=secret,
        admin_api_key=secret,
        max_retries=0,
        timeout=http_client.TIMEOUT_SECONDS,
        _strict_response_validation=True,
    )
