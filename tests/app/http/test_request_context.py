"""Deadline of a request's body."""

import asyncio
import time

import pytest
from starlette.exceptions import HTTPException
from starlette.types import Message

from app.http.request_context import RequestContext

SCOPE = {"type": "http", "method": "POST", "path": "/v1/files", "headers": []}


async def nowhere(message: Message) -> None:
    raise AssertionError(f"nothing is sent here: {message}")


def slow_request(pause: float, *, body_timeout: float) -> RequestContext:
    """A request whose client sends a byte and then pauses, again and again."""

    async def receive() -> Message:
        await asyncio.sleep(pause)
        return {"type": "http.request", "body": b"x", "more_body": True}

    context = RequestContext(SCOPE, receive, nowhere, body_timeout=body_timeout)
    context.max_body_bytes = 10**6
    return context


@pytest.mark.parametrize("pause", [0.005, 3600])
def test_a16_body_that_trickles_or_stops_times_out(pause: float) -> None:
    async def read() -> None:
        client = slow_request(pause, body_timeout=0.1)
        while True:
            await client.receive()

    with pytest.raises(HTTPException) as raised:
        asyncio.run(asyncio.wait_for(read(), 30))
    assert raised.value.status_code == 408


def test_only_time_spent_waiting_counts() -> None:
    async def read() -> Message:
        client = slow_request(0, body_timeout=0.5)
        await client.receive()
        # The time that the server takes to store what it has received.
        time.sleep(0.6)  # noqa: ASYNC251
        return await client.receive()

    assert asyncio.run(read())["body"] == b"x"
