"""Responses that are read slowly: A16, their rate and the bytes that they hold."""

import asyncio
from collections.abc import Callable

import pytest
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from app.http_server.response_pacing import PIECE_BYTES, ResponsePacing
from tests.live_api import Api
from tests.polling import wait_until
from tests.raw_http import connected

PIECES = 8
BODY = b"x" * (PIECES * PIECE_BYTES - 1)


class Client:
    """A client, as uvicorn's `send` shows it: each message waits until it has read another."""

    def __init__(self, owner: str = "a") -> None:
        self.scope = {"type": "http", "owner": owner}
        self.received: list[Message] = []
        self.reads = asyncio.Semaphore(0)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.received)

    def read(self, messages: int = PIECES + 1) -> None:
        for _ in range(messages):
            self.reads.release()

    async def send(self, message: Message) -> None:
        await self.reads.acquire()
        self.received.append(message)


async def respond(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": BODY})


async def receive() -> Message:
    return {"type": "http.disconnect"}


def build_pacing(**limits: float) -> ResponsePacing:
    pacing = ResponsePacing(respond, find_owner=lambda scope: str(scope["owner"]))
    for name, value in limits.items():
        setattr(pacing, name, value)
    return pacing


def serve(pacing: ResponsePacing, client: Client) -> asyncio.Task[None]:
    return asyncio.ensure_future(pacing(client.scope, receive, client.send))


async def settle(is_met: Callable[[], bool]) -> None:
    """Let the other tasks run until the condition is met."""
    async with asyncio.timeout(120):
        for _ in iter(is_met, True):
            await asyncio.sleep(0.01)


@pytest.mark.anyio
async def test_a16_a_request_lasts_until_its_response_was_read() -> None:
    client = Client()
    request = serve(build_pacing(), client)
    client.read(PIECES)
    await settle(lambda: len(client.received) == PIECES)
    assert not request.done()
    client.read(1)
    await request
    assert client.body == BODY
    assert max(len(message.get("body", b"")) for message in client.received) == PIECE_BYTES
    assert [message.get("more_body", False) for message in client.received[1:]] == [
        *[True] * (PIECES - 1),
        False,
    ]


@pytest.mark.anyio
async def test_a16_a_response_that_is_read_too_slowly_is_cut_off() -> None:
    client = Client()
    client.read(2)
    await serve(build_pacing(read_timeout_seconds=0.1, min_bytes_per_second=2**30), client)
    assert client.body == BODY[:PIECE_BYTES]


@pytest.mark.anyio
async def test_a16_what_was_read_extends_the_time() -> None:
    client = Client()
    request = serve(build_pacing(read_timeout_seconds=0.2, min_bytes_per_second=64), client)
    client.read(2)
    await asyncio.sleep(0.5)
    assert not request.done()
    client.read()
    await request
    assert client.body == BODY


@pytest.mark.anyio
async def test_a16_the_slowest_clients_of_a_project_are_disconnected() -> None:
    pacing = build_pacing(max_unread_bytes=2 * len(BODY), min_wait_seconds=0.2)
    neighbour, attackers = Client("b"), [Client("a") for _ in range(6)]
    other = serve(pacing, neighbour)
    requests = []
    # One after the other, so that it is certain who was waited for longest.
    for client in attackers:
        requests.append(serve(pacing, client))
        client.read(1)
        await asyncio.sleep(0.05)
    neighbour.read(1)
    await settle(lambda: sum(request.done() for request in requests) == 4)
    for client in (*attackers, neighbour):
        client.read()
    await asyncio.gather(other, *requests)
    assert neighbour.body == BODY
    assert [client.body for client in attackers] == [*[b""] * 4, BODY, BODY]


def test_a16_the_api_ends_the_request_of_a_slow_reader(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a client that disconnects, without a crash in the log."""
    monkeypatch.setattr(ResponsePacing, "read_timeout_seconds", 0.3)
    request = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
    with capture_logs() as lines, connected(api.url, receive_buffer=4096) as connection:
        connection.sendall(request * 40)
        wait_until("the request is over", lambda: 499 in [line.get("status") for line in lines])
    assert [line for line in lines if line["event"] == "request.crashed"] == []
