"""Attacks on the console: forged requests, frames, redirects, and text that wants to be HTML."""

from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, expect
from sqlalchemy import update

from app.auth import console_sessions, secrets
from app.console.live import MAX_TOPICS_PER_SESSION
from app.console.page_security import CSRF_HEADER
from app.db.session import SessionMaker, transaction
from app.db.tables import ConsoleSession
from app.http.console_cookie import COOKIE_NAME, read_cookie
from app.http_server.protocol import LISTENER_PATH
from tests.app.console.conftest import open_session
from tests.growth import MAX_GROWTH, measure_growth
from tests.live_api import Account, Api, create_account, create_admin_key

HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
ROW = b'{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n'
JOBS = "/console/api/v1/fine_tuning/jobs"


@pytest.fixture
def secret(account: Account, start_session: Callable[..., str]) -> str:
    return start_session(account.secret)


class TestForgedRequests:
    def test_without_the_token(self, api: Api, secret: str) -> None:
        for headers in ({}, {CSRF_HEADER: "0" * 64}):
            for path in (JOBS, "/console/logout"):
                response = httpx.post(
                    api.url + path, headers=headers, cookies={COOKIE_NAME: secret}
                )
                assert response.status_code == 403, path

    def test_with_the_token_from_another_site(self, api: Api, secret: str) -> None:
        token = console_sessions.compute_csrf_token(secret)
        for origin in (
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
            {"origin": "https://evil.example"},
            {"origin": "http://["},
        ):
            response = httpx.post(
                api.url + JOBS,
                headers={CSRF_HEADER: token, **origin},
                cookies={COOKIE_NAME: secret},
            )
            assert response.status_code == 403

    def test_the_token_of_another_session(
        self, api: Api, secret: str, account: Account, start_session: Callable[..., str]
    ) -> None:
        token = console_sessions.compute_csrf_token(start_session(account.secret))
        response = httpx.post(
            api.url + JOBS, headers={CSRF_HEADER: token}, cookies={COOKIE_NAME: secret}
        )
        assert response.status_code == 403

    def test_a_log_in_from_another_site(self, api: Api, account: Account) -> None:
        response = httpx.post(
            f"{api.url}/console/login",
            data={"key": account.secret},
            headers={"origin": "https://evil.example"},
        )
        assert response.status_code == 403
        assert "set-cookie" not in response.headers

    def test_a_get_that_starts_work(self, api: Api, secret: str) -> None:
        """A link on another site must not start an export, though it could not read the archive."""
        url = f"{api.url}/console/api/v1/models/ft:none/export"
        for headers, status in (
            ({"sec-fetch-site": "cross-site"}, 403),
            ({"sec-fetch-site": "same-site"}, 403),
            # Plain http on a host that is not this machine: browsers send no Sec-Fetch-Site.
            ({}, 403),
            ({"referer": "http://evil.example/console/models"}, 403),
            ({"referer": f"{api.url}/console/models/ft:none"}, 404),
            ({"sec-fetch-site": "same-origin"}, 404),
            ({"sec-fetch-site": "none"}, 404),
        ):
            response = httpx.get(url, headers=headers, cookies={COOKIE_NAME: secret})
            assert response.status_code == status, headers

    def test_reads_by_another_site(self, api: Api, secret: str) -> None:
        url = f"{api.url}/console/api/v1/files"
        headers = {"sec-fetch-site": "same-site"}
        response = httpx.get(url, headers=headers, cookies={COOKIE_NAME: secret})
        assert response.status_code == 403

    def test_the_cookie_is_no_key_of_the_api(self, api: Api, secret: str) -> None:
        """Otherwise any request of a browser to the API would carry the session's rights."""
        url = f"{api.url}/v1/models"
        assert httpx.get(url, cookies={COOKIE_NAME: secret}).status_code == 401
        assert httpx.get(url, headers={"authorization": f"Bearer {secret}"}).status_code == 401


def test_pages_cannot_be_framed_and_run_no_inline_scripts(api: Api, secret: str) -> None:
    for path in ("/console/", "/console/login", "/console/nothing"):
        headers = httpx.get(api.url + path, cookies={COOKIE_NAME: secret}).headers
        policy = headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"


def test_answers_of_the_api_are_data_to_a_browser(
    api: Api, secret: str, http: httpx.Client
) -> None:
    upload = http.post(
        "/v1/files",
        files={"file": ("page.html", b"<script>window.hacked=1</script>")},
        data={"purpose": "user_data"},
    )
    file_id = upload.json()["id"]
    response = httpx.get(
        f"{api.url}/console/api/v1/files/{file_id}/content", cookies={COOKIE_NAME: secret}
    )
    assert response.status_code == 200
    assert "sandbox" in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "html" not in response.headers.get("content-type", "")


@pytest.mark.parametrize(
    "next_path",
    ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"],
)
def test_the_log_in_leads_to_no_other_site(api: Api, account: Account, next_path: str) -> None:
    response = httpx.post(
        f"{api.url}/console/login", data={"key": account.secret, "next": next_path}
    )
    assert response.headers["location"] == "/console/"


def test_parameters_of_the_url_are_text(page: Page) -> None:
    page.goto(f"/console/login?{urlencode({'next': HOSTILE, 'code': HOSTILE})}")
    expect(page.get_by_role("button", name="Open the console")).to_be_visible()
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src=x]").count() == 0


def test_attributes_of_htmx_work_only_with_the_nonce_of_the_page(
    context: BrowserContext, api: Api, secret: str
) -> None:
    """HTML that an attacker gets into a page cannot make htmx send requests."""
    # Not the fixture `page`, which takes htmx's report of the attack for a fault.
    page = context.new_page()
    open_session(page, api, secret)
    page.goto("/console/")
    page.evaluate(
        """() => {
        const link = document.createElement("button");
        link.setAttribute("hx-post", "/console/logout");
        link.id = "injected";
        document.querySelector("main").append(link);
        htmx.process(link);
    }"""
    )
    assert page.locator("#injected").get_attribute("hx-post") is None


def test_projects_do_not_see_each_other(
    api: Api,
    http: httpx.Client,
    sessions: SessionMaker,
    secret: str,
    start_session: Callable[..., str],
) -> None:
    upload = http.post(
        "/v1/files", files={"file": ("mine.jsonl", ROW)}, data={"purpose": "fine-tune"}
    )
    path = f"/console/api/v1/files/{upload.json()['id']}"
    other = start_session(create_account(sessions, "others").secret)
    assert httpx.get(api.url + path, cookies={COOKIE_NAME: secret}).status_code == 200
    assert httpx.get(api.url + path, cookies={COOKIE_NAME: other}).status_code == 404


def test_a_session_secret_is_in_no_page_and_no_log(
    api: Api, secret: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert secret not in httpx.get(f"{api.url}/console/", cookies={COOKIE_NAME: secret}).text
    assert secret not in "".join(capfd.readouterr())


def test_a_long_cookie_is_read_in_linear_time() -> None:
    """http.cookies takes time by the square of a quoted value's length."""

    def prepare(size: int) -> Callable[[], object]:
        header = b'a="' + b"\\" * size + b'"; luthier_console=' + b"x" * size
        scope = {"headers": [(b"cookie", header)]}
        return lambda: read_cookie(scope, COOKIE_NAME)

    growth = measure_growth(prepare, size=2**14, max_size=2**16)
    assert growth is None or growth.factor < MAX_GROWTH


def test_another_key_does_not_renew_a_session(
    api: Api, account: Account, sessions: SessionMaker, secret: str
) -> None:
    """Otherwise a stolen session would live for ever."""
    ends_soon = secrets.compute_expiry(60)
    with transaction(sessions) as session:
        session.execute(update(ConsoleSession).values(expires_at=ends_soon))
    response = httpx.post(
        f"{api.url}/console/login",
        data={"key": create_admin_key(sessions, "acme")},
        cookies={COOKIE_NAME: secret},
    )
    with transaction(sessions) as session:
        identity = console_sessions.authenticate(session, response.cookies[COOKIE_NAME])
    assert identity is not None
    assert identity.admin is not None
    assert identity.expires_at < datetime.now(UTC) + timedelta(minutes=5)


def test_streams_of_pages_take_no_slots_of_requests(api: Api, secret: str) -> None:
    for path in ("/console/live", "/console/jobs/live", "/console/jobs/ftjob-a/live"):
        assert LISTENER_PATH.fullmatch(path), path
    for path in ("/console/", "/console/jobs", "/console/api/v1/files/x/live"):
        assert not LISTENER_PATH.fullmatch(path), path
    changes = f"{api.url}/console/api/v1/changes"
    assert httpx.get(changes, cookies={COOKIE_NAME: secret}).status_code == 404


def test_a_script_of_an_ended_session_gets_an_error_and_no_page(api: Api) -> None:
    """Otherwise it would take the log-in page for a file's content."""
    response = httpx.get(f"{api.url}/console/api/v1/models")
    assert response.status_code == 401
    assert response.json()["error"]["message"] == "The session has ended. Log in again."


def test_pages_of_models_start_no_exports(api: Api, secret: str) -> None:
    for end in ("export", "monitoring", "feedback"):
        url = f"{api.url}/console/models/base/{end}"
        assert httpx.get(url, cookies={COOKIE_NAME: secret}).status_code == 404


def test_made_up_urls_leave_room_for_other_members(
    api: Api, account: Account, secret: str, start_session: Callable[..., str]
) -> None:
    other = start_session(account.secret)
    with ExitStack() as stack:

        def follow(path: str, session_secret: str) -> int:
            request = httpx.stream(
                "GET", f"{api.url}/console/{path}", cookies={COOKIE_NAME: session_secret}
            )
            return stack.enter_context(request).status_code

        made_up = [follow(f"live?x={n}", secret) for n in range(MAX_TOPICS_PER_SESSION + 1)]
        assert made_up == [200] * MAX_TOPICS_PER_SESSION + [429]
        assert follow("live", other) == 200
