"""Settings: projects, keys that are shown once, admin keys, usage, webhooks."""

from collections.abc import Callable, Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect

from app.http.console_cookie import COOKIE_NAME
from tests.app.console.conftest import find_accessibility_violations
from tests.live_api import Account, Api, client_with_secret
from tests.webhook_receivers import WebhookReceiver, run_receiver


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with run_receiver() as receiver:
        yield receiver


def test_a_project_gets_a_key_that_is_shown_once_and_works(user: Page, api: Api) -> None:
    user.goto("/console/settings")
    user.get_by_label("Name of a new project").fill("research")
    user.get_by_role("button", name="Create project").click()
    expect(user.get_by_role("heading", name="research")).to_be_visible()
    user.get_by_label("Name of a new account").fill("nightly")
    user.get_by_role("button", name="Create account and key").click()
    secret = user.locator(".warning code").inner_text()
    with client_with_secret(api, secret) as client:
        assert client.get("/v1/files").json()["data"] == []
    assert find_accessibility_violations(user) == []
    user.goto(user.url.removesuffix("/service_accounts"))
    assert secret not in user.content()
    user.get_by_role("button", name="Revoke").first.click()
    user.locator("dialog[open]").get_by_role("button", name="Revoke").click()
    expect(user.get_by_text("No keys.")).to_be_visible()
    with client_with_secret(api, secret) as client:
        assert client.get("/v1/files").status_code == 401


def test_a_wrong_name_is_explained_beside_its_field(user: Page) -> None:
    user.goto("/console/settings/projects")
    user.get_by_label("Name of a new project").fill("x" * 999)
    user.get_by_role("button", name="Create project").click()
    field = user.get_by_label("Name of a new project")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_value("x" * 999)


def test_admin_keys_and_usage(user: Page) -> None:
    user.goto("/console/settings/admin-keys")
    user.get_by_label("Name of a new admin key").fill("deploys")
    user.get_by_role("button", name="Create admin key").click()
    expect(user.locator(".warning code")).to_contain_text("sk-admin-")
    assert find_accessibility_violations(user) == []
    user.goto("/console/settings/usage")
    expect(user.get_by_text("No requests yet.")).to_be_visible()
    assert find_accessibility_violations(user) == []


def test_a_webhook_is_created_and_tested(user: Page, receiver: WebhookReceiver) -> None:
    user.goto("/console/settings/webhooks")
    user.get_by_label("Name").fill("ci")
    user.get_by_label("URL, https and public").fill("ftp://nowhere")
    user.get_by_role("button", name="Create endpoint").click()
    expect(user.get_by_label("URL, https and public")).to_have_attribute("aria-invalid", "true")
    user.get_by_label("URL, https and public").fill(receiver.url)
    user.get_by_role("button", name="Create endpoint").click()
    expect(user.locator(".warning code")).to_contain_text("whsec_")
    assert find_accessibility_violations(user) == []
    user.get_by_role("button", name="Send test").click()
    expect(user.get_by_text("The receiver answered the test event")).to_be_visible()
    assert find_accessibility_violations(user) == []


def test_a_projects_member_sees_no_settings_of_the_organization(
    api: Api, account: Account, start_session: Callable[..., str]
) -> None:
    cookies = {COOKIE_NAME: start_session(account.secret)}
    for path in ("projects", "admin-keys", "usage"):
        page = httpx.get(f"{api.url}/console/settings/{path}", cookies=cookies)
        assert page.status_code == 403
        assert "This needs an admin key" in page.text
    page = httpx.get(f"{api.url}/console/settings/webhooks", cookies=cookies)
    assert page.status_code == 200
