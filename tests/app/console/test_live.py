"""Live updates: rendered once for all browsers, only while one looks, and ended with sessions."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from app.auth import console_sessions
from app.console import home_routes, live
from app.console.api_client import ApiClient
from app.console.live import LiveMessage
from app.db.session import SessionMaker, transaction
from app.db.tables import Project
from app.http.console_cookie import COOKIE_NAME
from tests.factories import make_job
from tests.live_api import Account, Api, create_admin_key

TABS = 200


def test_messages_are_server_sent_events_whatever_their_text() -> None:
    message = LiveMessage("a", "one\ntwo\r\n\nevent: forged\n", event="metrics")
    lines = message.encode().decode().split("\n")
    assert lines == [
        "event: metrics",
        "data: one",
        "data: two",
        "data: ",
        "data: event: forged",
        "",
        "",
    ]


@pytest.mark.console
def test_200_tabs_share_one_rendering(
    api: Api,
    account: Account,
    start_session: Callable[..., str],
    sessions: SessionMaker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All get the first state and the next, and the API is asked once for all of them."""
    renderings = 0
    load = home_routes._load

    async def count(client: ApiClient) -> dict[str, Any]:
        nonlocal renderings
        renderings += 1
        return await load(client)

    monkeypatch.setattr(home_routes, "_load", count)
    cookies = {COOKIE_NAME: start_session(account.secret)}

    def add_job() -> None:
        with transaction(sessions) as session:
            project = session.get_one(Project, account.principal.project_id)
            make_job(session, project, suffix="in all tabs")

    async def follow_all() -> int:
        limits = httpx.Limits(max_connections=TABS + 10)
        async with httpx.AsyncClient(cookies=cookies, limits=limits, timeout=120) as client:
            first, second = asyncio.Semaphore(0), asyncio.Semaphore(0)

            async def follow() -> None:
                async with client.stream("GET", f"{api.url}/console/live") as response:
                    async for line in response.aiter_lines():
                        if "Fine-tune your first model" in line:
                            first.release()
                        if "in all tabs" in line:
                            second.release()
                            return

            tabs = [asyncio.create_task(follow()) for _ in range(TABS)]
            for _ in range(TABS):
                await first.acquire()
            before = renderings
            await asyncio.to_thread(add_job)
            for _ in range(TABS):
                await second.acquire()
            await asyncio.gather(*tabs)
            return renderings - before

    assert asyncio.run(follow_all()) <= 3


def test_a_revoked_session_gets_no_more_updates(
    api: Api,
    account: Account,
    sessions: SessionMaker,
    start_session: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live, "SESSION_CHECK_SECONDS", 0.0)
    monkeypatch.setattr(live, "KEEP_ALIVE_SECONDS", 0.2)
    secret = start_session(account.secret)
    with httpx.stream(
        "GET", f"{api.url}/console/live", cookies={COOKIE_NAME: secret}, timeout=60
    ) as response:
        lines = response.iter_lines()
        assert any(line.startswith("data:") for line in lines)
        with transaction(sessions) as session:
            identity = console_sessions.authenticate(session, secret)
            assert identity is not None
            owner_id = identity.principal.organization_id
            console_sessions.revoke(session, identity.session_id, owner_id)
        assert "event: session-ended" in lines


def test_a_member_beside_an_admin_gets_nothing_of_the_organization(
    api: Api, account: Account, sessions: SessionMaker, start_session: Callable[..., str]
) -> None:
    """Pages of admins and of members of one project are rendered apart."""
    admin = start_session(account.secret, create_admin_key(sessions, "acme"))
    member = start_session(account.secret)
    url = f"{api.url}/console/operate/live"
    with httpx.stream("GET", url, cookies={COOKIE_NAME: admin}, timeout=60) as of_admin:
        assert any("Trainers" in line for line in of_admin.iter_lines())
        with httpx.stream("GET", url, cookies={COOKIE_NAME: member}, timeout=60) as of_member:
            lines = of_member.iter_lines()
            assert next(line for line in lines if line.startswith("event:")) == "event: trouble"
            assert "needs an admin key" in next(lines)
