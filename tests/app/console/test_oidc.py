"""Log-in through an identity provider: one that others wrote, and a fake one that lies."""

import base64
import hmac
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from joserfc import jwk
from playwright.sync_api import Browser, Page, expect
from pydantic import SecretStr
from sqlalchemy import select

from app.auth import console_sessions
from app.console import login_page
from app.console.oidc_routes import COOKIE_NAME as LOGIN_COOKIE
from app.db.session import SessionMaker, transaction
from app.db.tables import AuditActor, AuditLog, ConsoleSession, Project
from app.http.console_cookie import COOKIE_NAME
from app.http.rate_limits import InMemoryRateLimiter, RateLimit
from app.main import create_app
from app.security_log import SecurityEvent, SecurityLog
from app.settings import Settings
from tests.app.console.conftest import TIMEOUT_MS, find_accessibility_violations
from tests.identity_provider import CLIENT_ID, CLIENT_SECRET, FakeProvider
from tests.live_api import Account, Api
from tests.live_server import run_server
from tests.ports import free_port

LOGIN = "/console/login/oidc"
ROLES = {
    "ml": ("project:default",),
    "research": ("project:default", "project:research"),
    "ops": ("admin", "project:*"),
}
USERS = {
    "jane": {"groups": ["research"], "email": "jane@example.com", "email_verified": True},
    "olga": {"groups": ["ops"]},
    "nobody": {"groups": ["sales"]},
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
def real_console(running_api: Api) -> Iterator[str]:
    """A console with the provider of the package `oidc-provider-mock`, a process of its own."""
    port = free_port()
    users = [
        option
        for name, claims in USERS.items()
        for option in ("--user-claims", json.dumps({"sub": name, **claims}))
    ]
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), *users]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        # Another site than the console's, 127.0.0.1: browsers compare hosts, not ports.
        url = f"http://localhost:{port}"
        try:
            wait_for(url)
            with run_console(running_api, url) as console:
                yield console
        finally:
            process.terminate()


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            httpx.get(f"{url}/.well-known/openid-configuration").raise_for_status()
            return
        except httpx.HTTPError:
            assert time.monotonic() < deadline, "the provider did not start"
            time.sleep(0.05)


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


@pytest.fixture
def visitor(browser: Browser, real_console: str, account: Account, research: str) -> Iterator[Page]:
    context = browser.new_context(base_url=real_console)
    context.set_default_timeout(TIMEOUT_MS)
    yield context.new_page()
    context.close()


def log_in_as(page: Page, user: str) -> None:
    page.get_by_role("link", name="Log in with single sign-on").click()
    page.get_by_role("button", name=user).first.click()


def test_a_member_of_two_projects_logs_in_and_switches(visitor: Page) -> None:
    visitor.goto("/console/jobs?status=running")
    assert find_accessibility_violations(visitor) == []
    log_in_as(visitor, "jane")
    expect(visitor.get_by_role("heading", name="Jobs")).to_be_visible()
    assert visitor.url.endswith("/console/jobs?status=running")
    expect(visitor.locator(".who")).to_have_text("default")
    expect(visitor.get_by_role("link", name="Operate")).to_have_count(0)
    visitor.get_by_role("link", name="Switch project").click()
    assert find_accessibility_violations(visitor) == []
    visitor.get_by_role("button", name="Open research").click()
    expect(visitor.locator(".who")).to_have_text("research")
    visitor.get_by_role("button", name="Log out").click()
    expect(visitor.get_by_role("link", name="Log in with single sign-on")).to_be_visible()


def test_an_admin_logs_in(visitor: Page) -> None:
    visitor.goto("/")
    log_in_as(visitor, "olga")
    visitor.get_by_role("link", name="Operate").click()
    expect(visitor.get_by_role("heading", name="Operate")).to_be_visible()


def test_a_user_without_a_role_is_told_so(visitor: Page) -> None:
    visitor.goto("/console/login")
    log_in_as(visitor, "nobody")
    expect(visitor.get_by_text("You have no role in Luthier.")).to_be_visible()
    names = {cookie["name"] for cookie in visitor.context.cookies()}
    assert not names & {COOKIE_NAME, LOGIN_COOKIE}


def test_a_user_who_does_not_consent_is_told_so(client: Client) -> None:
    client.begin()
    query = urlencode({"error": "access_denied", "error_description": "X" * 99})
    response = client.get(f"{LOGIN}/callback?{query}&{urlencode({'state': client.state})}")
    assert response.status_code == 403
    assert "The identity provider did not let you in." in response.text
    assert "X" * 99 not in response.text


def test_only_a_console_with_a_provider_offers_it(api: Api, console: str) -> None:
    assert "single sign-on" in httpx.get(f"{console}/console/login").text
    assert "single sign-on" not in httpx.get(f"{api.url}/console/login").text
    assert httpx.get(f"{api.url}{LOGIN}").status_code == 404


def test_the_provider_is_asked_with_pkce_state_and_nonce(client: Client) -> None:
    response = client.begin()
    query = parse_qs(urlsplit(response.headers["location"]).query)
    assert query["response_type"] == ["code"]
    assert query["code_challenge_method"] == ["S256"]
    assert query["scope"] == ["openid profile email"]
    assert query["redirect_uri"] == [f"{client.console}{LOGIN}/callback"]
    cookie = response.headers["set-cookie"]
    for part in (f"Path={LOGIN};", "HttpOnly", "SameSite=Lax", "Max-Age=900"):
        assert part in cookie
    assert client.cookies[LOGIN_COOKIE] not in response.headers["location"]


def test_the_session_begins_on_a_page_of_the_console(client: Client) -> None:
    """After a redirect, the browser would not send a cookie that is SameSite=Strict."""
    client.begin("/jobs?status=running")
    response = client.finish()
    assert response.status_code == 200
    assert 'content="0; url=/console/jobs?status=running"' in response.text
    session_cookie = next(
        value for value in response.headers.get_list("set-cookie") if COOKIE_NAME in value
    )
    assert "SameSite=Strict" in session_cookie
    assert "Max-Age=43200" in session_cookie
    assert client.get("/console/").status_code == 200


def sign_with_another_key(provider: FakeProvider, claims: dict[str, Any]) -> str:
    return provider.encode(claims, jwk.RSAKey.generate_key(2048))


def sign_with_the_public_key(provider: FakeProvider, claims: dict[str, Any]) -> str:
    """The public key is no secret; only as one of HS256 would it be taken for a signing key."""
    unsigned = encode_part({"alg": "HS256", "kid": provider.key.kid}) + "." + encode_part(claims)
    key = provider.key.as_pem(private=False)
    return f"{unsigned}.{encode_bytes(hmac.digest(key, unsigned.encode(), 'sha256'))}"


def sign_nothing(provider: FakeProvider, claims: dict[str, Any]) -> str:
    return f"{encode_part({'alg': 'none', 'kid': provider.key.kid})}.{encode_part(claims)}."


def encode_part(value: dict[str, Any]) -> str:
    return encode_bytes(json.dumps(value).encode())


def encode_bytes(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "of another log-in"},
        {"nonce": None},
        {"aud": "another-client"},
        {"aud": "another-client", "azp": CLIENT_ID},
        {"aud": None},
        {"exp": 1_000_000_000},
        {"exp": None},
        {"iss": "https://evil.example"},
        {"iat": 9_000_000_000},
        {"sub": None},
        {"sub": {"$ne": ""}},
        {"sub": "u-1\0"},
        {"sub": "u-1\ud800"},
    ],
    ids=str,
)
def test_a_token_with_wrong_claims(client: Client, claims: dict[str, Any]) -> None:
    client.provider.claims |= claims
    response = client.log_in()
    assert response.status_code == 401
    assert "did not prove who you are" in response.text
    assert COOKIE_NAME not in client.cookies


@pytest.mark.parametrize(
    "sign", [sign_with_another_key, sign_with_the_public_key, sign_nothing, lambda *_: "a.b.c"]
)
def test_a_token_that_the_provider_has_not_signed(
    client: Client, sign: Callable[[FakeProvider, dict[str, Any]], str]
) -> None:
    client.provider.sign = sign
    assert client.log_in().status_code == 401
    assert COOKIE_NAME not in client.cookies


def test_an_answer_for_another_browser(client: Client, console: str) -> None:
    """Otherwise an attacker could log a victim in as themselves, or use a stolen code."""
    client.begin()
    victim = Client(console, client.provider)
    victim.state = client.state
    assert victim.finish().status_code == 401
    victim.begin()
    victim.state = client.state
    assert victim.finish().status_code == 401
    signature = client.state.partition(".")[0]
    elsewhere = base64.urlsafe_b64encode(b"/elsewhere").decode()
    for state in ("", "x", signature, f"{signature}.{elsewhere}"):
        client.state = state
        assert client.finish().status_code == 401, state


def test_an_answer_of_another_provider(client: Client) -> None:
    client.begin()
    assert client.finish(iss="https://evil.example").status_code == 401


def test_an_answer_that_does_not_name_its_provider_though_that_one_would(
    api: Api, client: Client
) -> None:
    client.provider.discovery = {"authorization_response_iss_parameter_supported": True}
    with run_console(api, client.provider.url) as console:
        client.console = console
        assert client.log_in().status_code == 401
        client.begin()
        assert client.finish(iss=client.provider.url).status_code == 200


def test_a_code_works_once(client: Client) -> None:
    client.begin()
    response = client.finish("code-replayed")
    assert response.status_code == 200
    # The browser has dropped the cookie; someone who kept it gains nothing either.
    assert f"{LOGIN_COOKIE}=; " in ", ".join(response.headers.get_list("set-cookie"))
    thief = Client(client.console, client.provider, {LOGIN_COOKIE: client.cookies[LOGIN_COOKIE]})
    thief.state = client.state
    assert thief.finish("code-replayed").status_code == 401
    assert COOKIE_NAME not in thief.cookies


@pytest.mark.parametrize("next_path", ["https://evil.example", "//evil.example", "/\\evil.example"])
def test_the_log_in_leads_to_no_other_site(client: Client, next_path: str) -> None:
    client.begin(next_path)
    assert 'content="0; url=/console/"' in client.finish().text


def test_a_session_that_someone_planted_gains_nothing(
    client: Client, account: Account, start_session: Callable[..., str]
) -> None:
    planted = start_session(account.secret)
    client.provider.claims["groups"] = ["ops"]
    client.cookies[COOKIE_NAME] = planted
    client.log_in()
    assert client.cookies[COOKIE_NAME] != planted
    client.cookies[COOKIE_NAME] = planted
    assert client.get("/console/operate").status_code == 403


def test_new_keys_of_the_provider_are_found(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.auth.oidc_provider.MIN_KEYS_AGE_SECONDS", 0)
    assert client.log_in().status_code == 200
    client.provider.key = jwk.RSAKey.generate_key(2048, auto_kid=True)
    assert client.log_in().status_code == 200


def test_tokens_with_wrong_signatures_do_not_make_us_ask_for_keys_each_time(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.auth.oidc_provider.MIN_KEYS_AGE_SECONDS", 3600.0)
    assert client.log_in().status_code == 200
    client.provider.num_reads = 0
    client.provider.sign = sign_with_another_key
    assert [client.log_in().status_code for _ in range(3)] == [401, 401, 401]
    assert client.provider.num_reads == 0


@pytest.mark.parametrize(
    "odd_keys",
    [
        [{"kty": "AKP", "kid": "of the future"}],
        [{"kty": "EC", "crv": "brainpoolP256r1", "x": "AA", "y": "AA"}],
        [{"kty": "RSA", "n": "AQAB", "e": "AQAB", "use": "enc", "key_ops": ["verify"]}],
        [{"kty": "RSA"}, {"kty": ["RSA"]}, {}, "RSA", None, 1, [], {"kty": "OKP", "crv": None}],
    ],
    ids=str,
)
def test_keys_that_are_not_understood_are_left_out(
    api: Api, client: Client, odd_keys: list[Any]
) -> None:
    client.provider.odd_keys = odd_keys
    with run_console(api, client.provider.url) as console:
        client.console = console
        assert client.log_in().status_code == 200


def test_a_provider_that_has_failed_is_not_asked_by_each_visitor(
    api: Api, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.auth.oidc_provider.RETRY_SECONDS", 3600.0)
    client.provider.discovery = {"issuer": "https://another.example"}
    with run_console(api, client.provider.url) as console:
        client.console = console
        assert [client.begin().status_code for _ in range(3)] == [503, 503, 503]
    assert client.provider.num_reads == 1


def test_claims_that_only_the_userinfo_endpoint_has(client: Client) -> None:
    client.provider.claims = {}
    client.provider.userinfo = {"groups": ["ml"]}
    assert client.log_in().status_code == 200
    client.provider.userinfo = {"groups": ["ml"], "sub": "someone else"}
    assert client.log_in().status_code == 401


@pytest.mark.parametrize(
    ("discovery", "padding"),
    [
        ({"issuer": "https://another.example"}, 0),
        ({"token_endpoint": "ftp://elsewhere/token"}, 0),
        ({"jwks_uri": None}, 0),
        ({"jwks_uri": "http://127.0.0.1:1/jwks"}, 0),
        ({}, 2**21),
    ],
)
def test_a_provider_that_does_not_work(
    api: Api, provider: FakeProvider, discovery: dict[str, Any], padding: int
) -> None:
    provider.discovery, provider.padding = discovery, padding
    with run_console(api, provider.url) as console:
        response = httpx.get(console + LOGIN)
    assert response.status_code == 503
    assert "The identity provider cannot be reached." in response.text


def test_a_provider_that_goes_away_during_a_log_in(client: Client, api: Api) -> None:
    client.provider.discovery = {"token_endpoint": "http://127.0.0.1:1/token"}
    with run_console(api, client.provider.url) as console:
        client.console = console
        response = client.log_in()
    assert response.status_code == 503
    assert COOKIE_NAME not in client.cookies


def test_a_user_switches_to_projects_of_theirs_only(
    client: Client, research: str, account: Account
) -> None:
    client.log_in()
    secret = client.cookies[COOKIE_NAME]
    token = console_sessions.compute_csrf_token(secret)

    def switch(project_id: str, csrf_token: str) -> int:
        return httpx.post(
            f"{client.console}/console/projects",
            data={"project_id": project_id, "csrf_token": csrf_token},
            cookies=client.cookies,
        ).status_code

    own = account.principal.project_id
    assert switch(research, token) == 403
    assert switch(own, "") == 403
    assert switch(own, token) == 303
    # Pages of the project before can do nothing to the other one.
    assert client.get("/console/").status_code == 303


def test_changes_are_recorded_with_the_users_name_and_end_with_all_sessions(
    client: Client, sessions: SessionMaker, account: Account
) -> None:
    client.provider.claims["groups"] = ["ops"]
    client.log_in()
    token = console_sessions.compute_csrf_token(client.cookies[COOKIE_NAME])
    form = {"name": "night", "csrf_token": token}
    url = f"{client.console}/console/settings/projects"
    assert httpx.post(url, data=form, cookies=client.cookies).status_code == 303
    with transaction(sessions) as session:
        entry = session.scalars(select(AuditLog)).one()
        assert (entry.actor, entry.actor_id) == (AuditActor.SESSION, "jane (u-1)")
        console_sessions.revoke_all(session, account.principal.organization_id)
    assert client.get("/console/").status_code == 303


def test_an_address_with_many_failures_waits(client: Client) -> None:
    client.begin()
    client.state = "x"
    statuses = {client.finish().status_code for _ in range(login_page.LOGIN_LIMIT.requests + 3)}
    assert statuses == {401, 429}


def test_an_outage_of_the_provider_is_no_way_to_send_it_any_number_of_codes(
    client: Client, api: Api
) -> None:
    client.provider.discovery = {"token_endpoint": "http://127.0.0.1:1/token"}
    with run_console(api, client.provider.url) as console:
        client.console = console
        client.begin()
        statuses = {client.finish().status_code for _ in range(login_page.LOGIN_LIMIT.requests + 3)}
    assert statuses == {503, 429}


def test_log_ins_that_succeed_do_not_count(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    limiter = InMemoryRateLimiter(RateLimit(requests=1, bytes=1))
    monkeypatch.setattr(login_page, "_limiter", limiter)
    assert [client.log_in().status_code for _ in range(3)] == [200, 200, 200]


def test_a_name_with_characters_that_the_database_refuses(
    client: Client, sessions: SessionMaker
) -> None:
    client.provider.claims["preferred_username"] = "ja\0ne\ud800\u202e"
    assert client.log_in().status_code == 200
    with transaction(sessions) as session:
        assert session.scalars(select(ConsoleSession.subject)).one() == "jane (u-1)"


@pytest.mark.parametrize("path", ["end-all", "csess_1/end"])
def test_ending_sessions_is_recorded_for_an_admin_who_has_a_project_too(
    client: Client, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    client.provider.claims["groups"] = ["ops"]
    client.log_in()
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr(SecurityLog, "_write", lambda _, fields: lines.append(fields))
    token = console_sessions.compute_csrf_token(client.cookies[COOKIE_NAME])
    url = f"{client.console}/console/settings/sessions/{path}"
    httpx.post(url, data={"csrf_token": token}, cookies=client.cookies)
    line = next(line for line in lines if line["event"] == SecurityEvent.ADMIN_REQUEST)
    assert line["user"] == "jane (u-1)"
    assert line["path"].endswith(path)


def test_a_provider_on_another_machine_needs_tls() -> None:
    for issuer in ("http://login.example.com", "ftp://login.example.com", "login.example.com"):
        with pytest.raises(ValueError, match="https://"):
            Settings(oidc_issuer=issuer, oidc_client_id="x")
    with pytest.raises(ValueError, match="LUTHIER_OIDC_CLIENT_ID"):
        Settings(oidc_issuer="https://login.example.com")
