"""Log-in in a browser at a provider that others wrote."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from app.console.oidc_routes import COOKIE_NAME as LOGIN_COOKIE
from app.http.console_cookie import COOKIE_NAME
from tests.app.console.conftest import TIMEOUT_MS, find_accessibility_violations
from tests.app.console.oidc.conftest import run_console
from tests.live_api import Account, Api
from tests.ports import free_port

USERS = {
    "jane": {"groups": ["research"], "email": "jane@example.com", "email_verified": True},
    "olga": {"groups": ["ops"]},
    "nobody": {"groups": ["sales"]},
}


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
