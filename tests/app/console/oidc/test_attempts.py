"""Limits of log-ins that fail."""

import pytest

from app.console import login_page
from app.http.rate_limits import InMemoryRateLimiter, RateLimit
from tests.app.console.oidc.conftest import Client, run_console
from tests.live_api import Api


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
