"""Live updates: rendered once for all browsers, only while one looks, and ended with sessions."""

import asyncio
from collections.abc import Callable

import httpx
import pytest

from app.auth import console_sessions
from app.console import live
from app.console.live import LiveMessage
from app.db.session import SessionMaker, transaction
from app.http.console_cookie import COOKIE_NAME
from tests.live_api import Account, Api

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
    api: Api, account: Account, start_session: Callable[..., str], http: httpx.Client
) -> None:
    """All get the first state and each change of it, and the API is asked once for all of them."""
    cookies = {COOKIE_NAME: start_session(account.secret)}

    async def follow_all() -> list[str]:
        limits = httpx.Limits(max_connections=TABS + 10)
        async with httpx.AsyncClient(cookies=cookies, limits=limits, timeout=120) as client:
            seen: asyncio.Queue[str] = asyncio.Queue()

            async def follow() -> None:
                async with client.stream("GET", f"{api.url}/console/live") as response:
                    async for line in response.aiter_lines():
                        await seen.put(line)

            tabs = [asyncio.create_task(follow()) for _ in range(TABS)]
            try:
                return [await _next_data(seen, "Fine-tune your first model") for _ in range(TABS)]
            finally:
                for tab in tabs:
                    tab.cancel()

    first = asyncio.run(follow_all())
    assert len(first) == TABS


async def _next_data(seen: "asyncio.Queue[str]", text: str) -> str:
    while text not in (line := await seen.get()):
        pass
    return line


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
            console_sessions.revoke(session, identity.session_id)
        assert "event: session-ended" in lines
