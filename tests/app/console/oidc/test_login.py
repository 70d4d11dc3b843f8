"""The way of a log-in: what the provider is asked, whose answer counts, and where it leads."""

import base64
from collections.abc import Callable
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from app.console.oidc_routes import COOKIE_NAME as LOGIN_COOKIE
from app.http.console_cookie import COOKIE_NAME
from tests.app.console.oidc.conftest import LOGIN, Client, run_console
from tests.live_api import Account, Api


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
