"""Log-in, log-out, and what ends a session."""

import threading
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import httpx
from playwright.sync_api import Page, expect
from sqlalchemy import func, update

from app.auth import console_login_codes, console_sessions, secrets
from app.db.session import SessionMaker, transaction
from app.db.tables import ApiKey, ConsoleSession, Project
from app.http.console_cookie import COOKIE_NAME, choose_session_cookie
from app.local import console_link
from app.settings import Settings
from tests.app.models.test_routes import count_lock_waits
from tests.live_api import Account, Api, create_admin_key
from tests.polling import wait_until


def log_in(api: Api, **form: str) -> httpx.Response:
    return httpx.post(f"{api.url}/console/login", data=form)


def open_home(api: Api, secret: str) -> httpx.Response:
    return httpx.get(f"{api.url}/console/", cookies={COOKIE_NAME: secret})


def test_a_key_typed_once_opens_the_console(page: Page, account: Account) -> None:
    page.goto("/")
    page.get_by_label("API key or admin key").fill(account.secret)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Home")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("button", name="Log in")).to_be_visible()


def test_the_log_in_returns_to_the_page_that_was_asked_for(page: Page, account: Account) -> None:
    page.goto("/console/?tab=waiting")
    page.get_by_label("API key or admin key").fill(account.secret)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Home")).to_be_visible()
    assert page.url.endswith("/console/?tab=waiting")


def test_the_key_is_in_no_cookie_and_no_page(api: Api, account: Account) -> None:
    response = log_in(api, key=account.secret)
    assert response.status_code == 303
    cookie = response.headers["set-cookie"]
    assert account.secret not in cookie
    for flag in ("HttpOnly", "SameSite=Strict", "Path=/console", "Max-Age=43200"):
        assert flag in cookie
    assert account.secret not in open_home(api, response.cookies[COOKIE_NAME]).text


def test_a_wrong_key_is_refused_with_a_sentence(api: Api) -> None:
    response = log_in(api, key="sk-luthier-wrong")
    assert response.status_code == 401
    assert "This key is not valid" in response.text
    assert "set-cookie" not in response.headers


def test_a_login_code_works_once(api: Api, account: Account, sessions: SessionMaker) -> None:
    with transaction(sessions) as session:
        grant = console_sessions.find_grant(session, account.secret)
        assert grant is not None
        code = console_login_codes.create(session, grant)
    # Opening the link does not use it up.
    assert httpx.get(f"{api.url}/console/login", params={"code": code}).status_code == 200
    assert log_in(api, code=code).status_code == 303
    assert log_in(api, code=code).status_code == 401


def test_a_session_ends_with_its_key(
    api: Api, account: Account, sessions: SessionMaker, start_session: Callable[..., str]
) -> None:
    secret = start_session(account.secret)
    assert open_home(api, secret).status_code == 200
    with transaction(sessions) as session:
        secrets.revoke(session, ApiKey, ApiKey.id == account.principal.key_id)
    assert open_home(api, secret).status_code == 303


def test_a_session_ends_after_its_time_and_by_logging_out(
    api: Api, account: Account, sessions: SessionMaker, start_session: Callable[..., str]
) -> None:
    expired, ended = start_session(account.secret), start_session(account.secret)
    with transaction(sessions) as session:
        session.execute(
            update(ConsoleSession)
            .where(ConsoleSession.secret_sha256 == secrets.compute_digest(expired))
            .values(expires_at=secrets.compute_expiry(-1))
        )
    assert open_home(api, expired).status_code == 303
    token = console_sessions.compute_csrf_token(ended)
    cookies = {COOKIE_NAME: ended}
    httpx.post(f"{api.url}/console/logout", data={"csrf_token": token}, cookies=cookies)
    assert open_home(api, ended).status_code == 303


def test_a_log_in_replaces_the_secret_of_the_session(
    api: Api, account: Account, sessions: SessionMaker, start_session: Callable[..., str]
) -> None:
    """A secret that someone else put into the browser gains no rights."""
    planted = start_session(account.secret)
    admin_key = create_admin_key(sessions, "acme")
    response = httpx.post(
        f"{api.url}/console/login", data={"key": admin_key}, cookies={COOKIE_NAME: planted}
    )
    assert response.cookies[COOKIE_NAME] != planted
    assert open_home(api, planted).status_code == 303
    both = open_home(api, response.cookies[COOKIE_NAME])
    assert "default" in both.text
    assert ">admin<" in both.text


def start_member(sessions: SessionMaker, account: Account) -> str:
    """Start a session of a member of the account's project and of another one; its secret."""
    owner, own = account.principal.organization_id, account.principal.project_id
    with transaction(sessions) as session:
        session.add(Project(id="proj_other", organization_id=owner, name="other"))
        session.flush()
        grant = console_sessions.Grant(
            organization_id=owner,
            project_id=own,
            subject="jane",
            project_ids=(own, "proj_other"),
        )
        return console_sessions.create(session, grant)


def test_a_request_that_was_under_way_does_not_survive_the_end_of_all_sessions(
    account: Account, sessions: SessionMaker
) -> None:
    secret = start_member(sessions, account)
    with transaction(sessions) as session:
        identity = console_sessions.authenticate(session, secret)
        assert identity is not None
        console_sessions.revoke_all(session, account.principal.organization_id)
    with transaction(sessions) as session:
        assert console_sessions.switch_project(session, identity, "proj_other") is None
        assert console_sessions.end_for_another(session, identity) is None


def test_ending_all_sessions_waits_for_one_that_is_being_started(
    account: Account, sessions: SessionMaker
) -> None:
    """Otherwise it would not see the new session, and not end it."""
    secret = start_member(sessions, account)

    def end_all() -> None:
        with transaction(sessions) as session:
            console_sessions.revoke_all(session, account.principal.organization_id)

    thread = threading.Thread(target=end_all)
    with transaction(sessions) as session:
        identity = console_sessions.authenticate(session, secret)
        assert identity is not None
        after = console_sessions.switch_project(session, identity, "proj_other")
        assert after is not None
        thread.start()
        with sessions() as other:
            wait_until("the end of all sessions waits", lambda: count_lock_waits(other) > 0)
    thread.join()
    with transaction(sessions) as session:
        assert console_sessions.authenticate(session, after) is None


def test_switching_to_an_archived_project_leaves_the_session_as_it_is(
    account: Account, sessions: SessionMaker
) -> None:
    secret = start_member(sessions, account)
    with transaction(sessions) as session:
        session.get_one(Project, "proj_other").archived_at = func.clock_timestamp()
        session.flush()
        identity = console_sessions.authenticate(session, secret)
        assert identity is not None
        assert console_sessions.switch_project(session, identity, "proj_other") is None
        assert console_sessions.authenticate(session, secret) is not None


def test_the_operators_link_logs_in_as_an_admin_and_a_member(
    api: Api, account: Account, database_url: str
) -> None:
    settings = api.state.settings.model_copy(update={"organization_slug": "acme"})
    link = console_link.create_link(database_url, settings)
    code = parse_qs(urlsplit(link).query)["code"][0]
    home = open_home(api, log_in(api, code=code).cookies[COOKIE_NAME])
    assert "default" in home.text
    assert ">admin<" in home.text


def test_the_cookie_of_a_tls_connection_is_from_this_host_alone(api: Api, account: Account) -> None:
    """A sibling subdomain could put a session of its own into the browser otherwise."""
    https = {"x-forwarded-proto": "https"}
    response = httpx.post(f"{api.url}/console/login", data={"key": account.secret}, headers=https)
    cookie = response.headers["set-cookie"]
    name, _, value = cookie.partition(";")[0].partition("=")
    assert name == f"__Host-{COOKIE_NAME}"
    assert "; Path=/;" in cookie
    assert cookie.endswith("; Secure")
    assert "Domain" not in cookie
    home = f"{api.url}/console/"
    assert httpx.get(home, headers=https | {"cookie": f"{name}={value}"}).status_code == 200
    # Neither is the secret valid under a name that other hosts and plain http can set.
    planted = https | {"cookie": f"{COOKIE_NAME}={value}"}
    assert httpx.get(home, headers=planted).status_code == 303


def test_the_cookie_behind_a_path_prefix_is_for_the_console_alone() -> None:
    """Other programs on the host do not get it, so its name cannot begin with __Host-."""
    settings = Settings(path_prefix="/tuning", public_origin="https://tools.example.com")
    cookie = choose_session_cookie({"scheme": "http", "headers": []}, settings)
    assert (cookie.name, cookie.path) == (f"__Secure-{COOKIE_NAME}", "/tuning/console")
    assert cookie.is_secure
