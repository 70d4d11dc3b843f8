"""Fixtures: Chromium, and pages of the console with a user logged in.

Playwright drives the browser that the system has; its own builds come from elsewhere.
"""

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from app.auth import console_sessions
from app.db.session import SessionMaker, transaction
from app.http.console_cookie import COOKIE_NAME
from tests.faults.measurements import Measurements
from tests.live_api import Account, Api, create_admin_key

WCAG_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
CHROMIUM = os.environ.get("LUTHIER_TEST_CHROMIUM") or shutil.which("chromium")

# For slow machines.
TIMEOUT_MS = 30_000
expect.set_options(timeout=TIMEOUT_MS)


# Not for the whole run: Playwright keeps an event loop running in this thread, in which tests of
# other files could not start theirs.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium; `make console-test` installs it where it can")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser, api: Api) -> Iterator[BrowserContext]:
    """A browser profile of its own, in which nobody has logged in."""
    context = browser.new_context(base_url=api.url, viewport={"width": 1440, "height": 900})
    context.set_default_timeout(TIMEOUT_MS)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page that fails the test if a script of it failed, or the CSP blocked something."""
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console",
        lambda message: problems.append(message.text) if message.type == "error" else None,
    )
    yield page
    # A status of the server is logged as an error by the browser, and is the test's business.
    faults = [text for text in problems if "Failed to load resource" not in text]
    assert faults == []


@pytest.fixture
def start_session(sessions: SessionMaker, api: Api) -> Callable[..., str]:
    """Start a session by keys; returns the secret for the cookie."""

    def start(*keys: str) -> str:
        with transaction(sessions) as session:
            grant = None
            for key in keys:
                added = console_sessions.find_grant(session, key)
                assert added is not None
                grant = console_sessions.merge(grant, added)
            assert grant is not None
            return console_sessions.create(session, grant)

    return start


def open_session(page: Page, api: Api, secret: str) -> None:
    """Give the page's browser a session's cookie."""
    page.context.add_cookies([{"name": COOKIE_NAME, "value": secret, "url": f"{api.url}/console"}])


@pytest.fixture
def user(
    page: Page,
    account: Account,
    start_session: Callable[..., str],
    sessions: SessionMaker,
    api: Api,
) -> Page:
    """A page of a member of `account`'s project, who is an admin of its organization too."""
    open_session(page, api, start_session(account.secret, create_admin_key(sessions, "acme")))
    return page


@pytest.fixture
def measurements(record_property: Callable[[str, object], None]) -> Measurements:
    """Measurements of a test, which fail none: machines differ."""
    return Measurements(record_property)


def find_accessibility_violations(page: Page) -> list[str]:
    """Describe what axe finds wrong by WCAG 2.2 AA, in both themes and at a phone's width too."""
    violations = []
    viewport = page.viewport_size
    for theme, width in (("light", 1440), ("dark", 1440), ("light", 390)):
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
        options = {"runOnly": {"type": "tag", "values": WCAG_TAGS}}
        for rule in Axe().run(page, options=options).response["violations"]:
            places = [node["html"][:160] for node in rule["nodes"][:3]]
            violations.append(f"{theme} {width}: {rule['id']}: {rule['help']}: {places}")
    if viewport is not None:
        page.set_viewport_size(viewport)
    return violations
