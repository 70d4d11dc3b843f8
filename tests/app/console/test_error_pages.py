"""Pages of errors: one that fails unexpectedly keeps its frame and its headers."""

import httpx
import pytest
from playwright.sync_api import Page, expect

from app.console import home_routes
from tests.live_api import Api


def test_a_crash_is_a_page_without_details(user: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    async def crash(*_: object) -> None:
        raise KeyError("a detail")

    monkeypatch.setattr(home_routes, "_load", crash)
    response = user.goto("/console/")
    assert response is not None
    assert response.status == 500
    assert "default-src" in response.headers["content-security-policy"]
    expect(user.get_by_role("link", name="Jobs")).to_be_visible()
    assert "a detail" not in user.content()


def test_a_log_in_is_no_crash(api: Api, capfd: pytest.CaptureFixture[str]) -> None:
    response = httpx.get(f"{api.url}/console/", follow_redirects=False)
    assert response.status_code == 303
    assert "request.crashed" not in "".join(capfd.readouterr())
