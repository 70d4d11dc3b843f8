"""The console behind a reverse proxy that removes a path from requests."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from starlette.types import ASGIApp, Receive, Scope, Send

from app.main import create_app
from tests.live_api import Account, Api
from tests.live_server import run_server

PREFIX = "/tuning"


class PrefixProxy:
    """Passes requests below the prefix on without it, as a reverse proxy does."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            shorter = path.removeprefix(PREFIX) if path.startswith(PREFIX) else "/outside"
            scope = scope | {"path": shorter, "raw_path": shorter.encode()}
        await self._app(scope, receive, send)


@pytest.fixture
def url(api: Api) -> Iterator[str]:
    app = create_app(api.state.settings.model_copy(update={"path_prefix": PREFIX}))
    with run_server(PrefixProxy(app)) as url:
        yield url + PREFIX


def test_all_links_and_streams_stay_below_the_prefix(
    context: BrowserContext, page: Page, url: str, account: Account
) -> None:
    outside: list[str] = []
    context.on("request", lambda request: outside.append(request.url))
    page.goto(f"{url}/")
    page.get_by_label("API key or admin key").fill(account.secret)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Home")).to_be_visible()
    for name in ("Files", "Jobs", "Compare", "Models", "Playground", "Evaluations", "Settings"):
        page.get_by_label("Main").get_by_role("link", name=name).click()
        expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    assert [each for each in outside if not each.startswith(f"{url}/")] == []
