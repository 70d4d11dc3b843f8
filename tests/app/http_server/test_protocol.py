"""Malformed and incomplete HTTP on a socket, and clients that do not read: A16, A31, A33."""

import asyncio
import select
import socket
import time
from contextlib import suppress

import httpx
import pytest
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs
from uvicorn import Config
from uvicorn.server import ServerState

from app.http_server.protocol import MAX_HEADER_BYTES, BoundedHttpProtocol
from tests.live_api import Account, Api
from tests.polling import wait_until
from tests.raw_http import connected, parse_error, read_until_closed

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /v1/models HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "bytes_",
    [
        b"\r\n\r\nlunch\r\n\r\n",
        b"GET\r\n\r\n",
        b"LUNCH / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        GET + b"No colon\r\n\r\n",
        GET + b"Na me: x\r\n\r\n",
        GET + b"X: a\x00b\r\n\r\n",
        POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: 1e3\r\n\r\n",
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_a33_malformed_request_gets_the_envelope_and_is_closed(api: Api, bytes_: bytes) -> None:
    with connected(api.url) as connection:
        connection.sendall(bytes_)
        status, error = parse_error(read_until_closed(connection))
    assert status == 400
    assert error["type"] == "invalid_request_error"


def test_a33_invalid_chunk_in_a_body(api: Api, account: Account) -> None:
    key = b"Authorization: Bearer " + account.secret.encode() + b"\r\n"
    with connected(api.url) as connection:
        head = b"POST /v1/fine_tuning/jobs HTTP/1.1\r\nHost: x\r\n" + key
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n")
        status, _ = parse_error(read_until_closed(connection))
    assert status == 400


def test_a33_no_request_smuggling(api: Api) -> None:
    """The body has the declared length, so its content is not read as another request."""
    with connected(api.url) as connection:
        inner = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
        length = str(len(inner)).encode()
        connection.sendall(GET + b"Content-Length: " + length + b"\r\n\r\n" + inner)
        connection.sendall(GET + b"Connection: close\r\n\r\n")
        responses = read_until_closed(connection)
    assert responses.count(b"HTTP/1.1 200 OK") == 2
    assert b"401" not in responses


class TestA16SlowHeaders:
    @pytest.fixture(autouse=True)
    def _hurry(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(BoundedHttpProtocol, "header_timeout_seconds", 0.3)

    @pytest.mark.parametrize("begin", [b"G", GET, GET + b"X: "])
    def test_headers_that_stop(self, api: Api, begin: bytes) -> None:
        with connected(api.url) as connection:
            connection.sendall(begin)
            assert parse_error(read_until_closed(connection))[0] == 408

    def test_headers_that_trickle(self, api: Api) -> None:
        with connected(api.url) as connection:
            connection.settimeout(0.02)
            connection.sendall(GET)
            deadline = time.monotonic() + 120
            received = b""
            while not received:
                assert time.monotonic() < deadline
                # The response can still be read if the server has closed already.
                with suppress(ConnectionError):
                    connection.sendall(b"X: y\r\n")
                with suppress(TimeoutError):
                    received = connection.recv(65536)
            assert received.startswith(b"HTTP/1.1 408")

    def test_silent_connection_is_closed_without_a_response(self, api: Api) -> None:
        with connected(api.url) as connection:
            assert read_until_closed(connection) == b""

    def test_second_request_on_a_connection(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # For the first request, which a busy machine may send late.
        monkeypatch.setattr(BoundedHttpProtocol, "header_timeout_seconds", 1)
        with connected(api.url) as connection:
            connection.sendall(GET + b"\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            connection.sendall(GET)
            assert parse_error(read_until_closed(connection))[0] == 408

    def test_slow_body_is_not_a_slow_header(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Less than the body takes, but enough for headers that a busy machine sends late.
        monkeypatch.setattr(BoundedHttpProtocol, "header_timeout_seconds", 1.5)
        with connected(api.url) as connection:
            connection.sendall(GET + b"Content-Length: 2\r\nConnection: close\r\n\r\nx")
            time.sleep(1.7)
            connection.sendall(b"x")
            assert read_until_closed(connection).startswith(b"HTTP/1.1 200")


def is_reset(connection: socket.socket) -> bool:
    """The server resets the connection while nothing is read from it."""
    waiting = select.poll()
    waiting.register(connection, 0)
    return any(happened & select.POLLERR for _, happened in waiting.poll(120_000))


class TestA16SlowReaders:
    """Clients that stop reading their response."""

    @pytest.fixture
    def request_head(self, http: httpx.Client, account: Account) -> bytes:
        """A request for a file larger than all buffers between client and server."""
        files = {"file": ("a.bin", b"x" * 4_000_000)}
        file = http.post("/v1/files", files=files, data={"purpose": "user_data"}).json()
        key = f"Authorization: Bearer {account.secret}\r\n"
        return f"GET /v1/files/{file['id']}/content HTTP/1.1\r\nHost: x\r\n{key}".encode()

    @pytest.mark.parametrize("more", [b"", b"Connection: close\r\n"])
    def test_client_that_reads_nothing(
        self, api: Api, request_head: bytes, more: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(BoundedHttpProtocol, "progress_check_interval_seconds", 0.2)
        with capture_logs() as lines, connected(api.url, receive_buffer=4096) as connection:
            connection.sendall(request_head + more + b"\r\n")
            assert is_reset(connection), "the server waits forever"
            # The request ends with it, and so its key's request slot is released.
            wait_until("the request is over", lambda: [line["status"] for line in lines] == [499])

    def test_client_that_leaves_the_end_of_a_small_response(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Too little for uvicorn's flow control, and the request itself is complete."""
        monkeypatch.setattr(BoundedHttpProtocol, "progress_check_interval_seconds", 0.2)
        with connected(api.url, receive_buffer=4096) as connection:
            connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 40)
            assert is_reset(connection), "the server waits forever"


@pytest.mark.anyio
async def test_a16_client_is_kept_while_it_reads_something() -> None:
    """The checks are called directly, so that neither they nor the client can be late."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 8_000_000})

    loop = asyncio.get_running_loop()
    config = Config(app, lifespan="off")
    config.load()
    protocol = BoundedHttpProtocol(config, ServerState(), {}, loop)
    protocol.progress_check_interval_seconds = 3600
    server = await loop.create_server(lambda: protocol, "127.0.0.1", 0)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.setblocking(False)
        await loop.sock_connect(connection, server.sockets[0].getsockname())
        await loop.sock_sendall(connection, GET + b"\r\n")
        await loop.sock_recv(connection, 1)
        async with asyncio.timeout(120):
            for _ in range(20):
                protocol.check_client_progress()
                assert not protocol.transport.is_closing()
                before = protocol.unacked_bytes()
                taken = 0
                while taken < 131072:
                    taken += len(await loop.sock_recv(connection, 131072 - taken))
                # The acknowledgement may arrive a moment later.
                for _ in range(100):
                    if protocol.unacked_bytes() != before:
                        break
                    await asyncio.sleep(0.01)
            while not protocol.transport.is_closing():
                protocol.check_client_progress()
                # The kernel acknowledges what fits its buffer without it being read.
                await asyncio.sleep(0.05)
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("piece", [b"X: " + b"y" * 1000 + b"\r\n", b"y" * 1000])
def test_a16_endless_headers(api: Api, piece: bytes) -> None:
    with connected(api.url) as connection:
        connection.sendall(GET + b"X-First: ")
        sent = 0
        try:
            while sent < 64 * MAX_HEADER_BYTES:
                sent += connection.send(piece)
                # In small pieces, or a single read of the server would contain all of them.
                time.sleep(0.0005)
        except OSError:
            pass
        assert sent < 64 * MAX_HEADER_BYTES
        response = read_until_closed(connection)
    # The response may be lost if the client is still sending when the server closes.
    assert response == b"" or parse_error(response)[0] == 431


def test_too_many_connections(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    with connected(api.url) as before:
        before.sendall(GET + b"\r\n")
        assert before.recv(65536).startswith(b"HTTP/1.1 200")
        monkeypatch.setattr(BoundedHttpProtocol, "max_connections", 0)
        with connected(api.url) as connection:
            connection.sendall(GET + b"\r\n")
            response = read_until_closed(connection)
        status, error = parse_error(response)
        assert (status, error["type"]) == (503, "server_error")
        assert b"retry-after: " in response
        before.sendall(GET + b"\r\n")
        assert before.recv(65536).startswith(b"HTTP/1.1 200"), "older connections are unaffected"


def test_large_body_in_the_same_packet_is_not_a_large_header(api: Api) -> None:
    body = b"x" * (3 * MAX_HEADER_BYTES)
    with connected(api.url) as connection:
        length = str(len(body)).encode()
        head = GET + b"Connection: close\r\nContent-Length: " + length + b"\r\n\r\n"
        connection.sendall(head + body)
        assert read_until_closed(connection).startswith(b"HTTP/1.1 200")


def test_websocket_upgrade_is_authenticated(api: Api) -> None:
    ask = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    ask += b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    with connected(api.url) as connection:
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n" + ask)
        assert connection.recv(65536).startswith(b"HTTP/1.1 401")
