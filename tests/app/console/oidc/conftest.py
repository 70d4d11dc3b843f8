"""Fixtures: consoles with an identity provider, and a client that logs in at a fake one."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from pydantic import SecretStr

from app.console import login_page
from app.console.oidc_routes import COOKIE_NAME as LOGIN_COOKIE
from app.db.session import SessionMaker, transaction
from app.db.tables import Project
from app.http.console_cookie import COOKIE_NAME
from app.http.rate_limits import InMemoryRateLimiter
from app.main import create_app
from tests.identity_provider import CLIENT_ID, CLIENT_SECRET, FakeProvider
from tests.live_api import Account, Api
from tests.live_server import run_server

LOGIN = "/console/login/oidc"
ROLES = {
    "ml": ("project:default",),
    "research": ("project:default", "project:research"),
    "ops": ("admin", "project:*"),
}


@pytest.fixture(autouse=True)
def no_failures_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """All tests have the same address, and more failures than one may have in a minute."""
    monkeypatch.setattr(login_page, "_limiter", InMemoryRateLimiter(login_page.LOGIN_LIMIT))


def run_console(api: Api, issuer: str, **options: Any) -> Any:
    """Serve another API process whose console has an identity provider."""
    settings = api.state.settings.model_copy(
        update={
            "organization_slug": "acme",
            "oidc_issuer": issuer,
            "oidc_client_id": CLIENT_ID,
            "oidc_client_secret": SecretStr(CLIENT_SECRET),
            "oidc_roles": ROLES,
            **options,
        }
    )
    return run_server(create_app(settings))


@pytest.fixture(scope="module")
def running_provider(running_api: Api) -> Iterator[tuple[FakeProvider, str]]:
    provider = FakeProvider()
    with run_server(provider.app()) as url:
        provider.url = url
        with run_console(running_api, url) as console:
            yield provider, console


@pytest.fixture
def provider(running_provider: tuple[FakeProvider, str], account: Account) -> FakeProvider:
    running_provider[0].reset()
    return running_provider[0]


@pytest.fixture
def console(running_provider: tuple[FakeProvider, str]) -> str:
    return running_provider[1]


@dataclass
class Client:
    """A browser that logs in at the fake provider."""

    console: str
    provider: FakeProvider
    cookies: dict[str, str] = field(default_factory=dict)
    state: str = ""

    def begin(self, next_path: str = "") -> httpx.Response:
        response = self.get(f"{LOGIN}?{urlencode({'next': next_path})}")
        if response.status_code == 303:
            query = parse_qs(urlsplit(response.headers["location"]).query)
            self.state = query["state"][0]
            self.provider.nonce = query["nonce"][0]
            self.provider.challenge = query["code_challenge"][0]
            self.cookies[LOGIN_COOKIE] = response.cookies[LOGIN_COOKIE]
        return response

    def finish(self, code: str | None = None, **query: str) -> httpx.Response:
        code = code or f"code-{time.monotonic_ns()}"
        response = self.get(
            f"{LOGIN}/callback?{urlencode({'code': code, 'state': self.state} | query)}"
        )
        if COOKIE_NAME in response.cookies:
            self.cookies[COOKIE_NAME] = response.cookies[COOKIE_NAME]
        return response

    def log_in(self) -> httpx.Response:
        self.begin()
        return self.finish()

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.console + path, cookies=self.cookies, timeout=60)


@pytest.fixture
def client(console: str, provider: FakeProvider) -> Client:
    return Client(console, provider)


@pytest.fixture
def research(sessions: SessionMaker, account: Account) -> str:
    """Another project of the organization."""
    with transaction(sessions) as session:
        owner = account.principal.organization_id
        session.add(Project(id="proj_research", organization_id=owner, name="research"))
    return "proj_research"
