"""Providers that do not work, go away, or need TLS, and claims of the userinfo endpoint."""

from typing import Any

import httpx
import pytest

from app.http.console_cookie import COOKIE_NAME
from app.settings import Settings
from tests.app.console.oidc.conftest import LOGIN, Client, run_console
from tests.identity_provider import FakeProvider
from tests.live_api import Api


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


def test_a_provider_on_another_machine_needs_tls() -> None:
    for issuer in ("http://login.example.com", "ftp://login.example.com", "login.example.com"):
        with pytest.raises(ValueError, match="https://"):
            Settings(oidc_issuer=issuer, oidc_client_id="x")
    with pytest.raises(ValueError, match="LUTHIER_OIDC_CLIENT_ID"):
        Settings(oidc_issuer="https://login.example.com")
