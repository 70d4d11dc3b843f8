"""Settings: projects, keys that are shown once, admin keys, usage, webhooks."""

from collections.abc import Callable, Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect

from app.auth import console_sessions
from app.db.session import SessionMaker, transaction
from app.files import quota
from app.http.console_cookie import COOKIE_NAME
from tests.app.console.conftest import find_accessibility_violations
from tests.live_api import Account, Api, client_with_secret, create_account
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


def test_limits_are_shown_with_their_use_and_what_to_do_near_them(
    user: Page, http: httpx.Client, sessions: SessionMaker, account: Account
) -> None:
    with transaction(sessions) as session:
        quota.set_limits(session, account.principal.project_id, max_bytes=1000, max_files=10)
    row = b'{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n'
    upload = {"files": {"file": ("a.jsonl", row * 11)}, "data": {"purpose": "fine-tune"}}
    assert http.post("/v1/files", **upload).status_code == 200
    user.goto("/console/settings/webhooks")
    user.get_by_role("link", name="Limits and retention").click()
    warning = user.locator(".warning")
    expect(warning).to_have_count(1)
    expect(warning).to_contain_text("Stored bytes: 880 B of 1000 B.")
    expect(warning).to_contain_text("delete files or models")
    expect(user.get_by_role("row", name="Stored files")).to_contain_text("10 files")
    expect(user.get_by_role("row", name="Responses")).to_contain_text("30 d 0 h after creation")
    assert find_accessibility_violations(user) == []


def test_an_admin_sees_and_ends_sessions(
    user: Page, api: Api, account: Account, start_session: Callable[..., str]
) -> None:
    other = {COOKIE_NAME: start_session(account.secret)}
    home = f"{api.url}/console/"
    user.goto("/console/settings/sessions")
    expect(user.locator("tbody .tag")).to_have_text("this one")
    assert find_accessibility_violations(user) == []
    user.get_by_role("row", name="member").get_by_role("button", name="End").click()
    user.locator("dialog[open]").get_by_role("button", name="End").click()
    expect(user.locator("tbody tr")).to_have_count(1)
    assert httpx.get(home, cookies=other).status_code == 303
    user.get_by_role("button", name="End all sessions").click()
    user.locator("dialog[open]").get_by_role("button", name="End all sessions").click()
    expect(user.get_by_role("button", name="Log in")).to_be_visible()


def test_an_admin_ends_no_session_of_another_organization(
    api: Api, admin_secret: str, sessions: SessionMaker, start_session: Callable[..., str]
) -> None:
    theirs = start_session(create_account(sessions, "others").secret)
    with transaction(sessions) as session:
        identity = console_sessions.authenticate(session, theirs)
    assert identity is not None
    own = start_session(admin_secret)
    response = httpx.post(
        f"{api.url}/console/settings/sessions/{identity.session_id}/end",
        data={"csrf_token": console_sessions.compute_csrf_token(own)},
        cookies={COOKIE_NAME: own},
    )
    assert response.status_code == 303
    assert httpx.get(f"{api.url}/console/", cookies={COOKIE_NAME: theirs}).status_code == 200


def test_a_projects_member_sees_no_settings_of_the_organization(
    api: Api, account: Account, start_session: Callable[..., str]
) -> None:
    cookies = {COOKIE_NAME: start_session(account.secret)}
    for path in ("projects", "admin-keys", "usage", "sessions"):
        page = httpx.get(f"{api.url}/console/settings/{path}", cookies=cookies)
        assert page.status_code == 403
        assert "This needs an admin key" in page.text
    page = httpx.get(f"{api.url}/console/settings/webhooks", cookies=cookies)
    assert page.status_code == 200
