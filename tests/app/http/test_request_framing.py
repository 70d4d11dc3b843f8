"""Chunked bodies, trailers, pipelining and header counts on a socket: A48, A49."""

import socket
from contextlib import suppress

import psutil
import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.http_server.protocol import (
    MAX_FRAMING_BYTES,
    MAX_HEADERS,
    MAX_PIPELINED_REQUESTS,
    BoundedHttpProtocol,
)
from tests.live_api import Account, Api
from tests.raw_http import connected, parse_error, read_until_closed

MIB = 2**20
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
ATTEMPTED_BYTES = 64 * MIB


def post(account: Account, path: str = "/v1/chat/completions") -> bytes:
    """The headers of a chunked request that is admitted, and waits for the end of its body."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {account.secret}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def send_endlessly(connection: socket.socket, piece: bytes) -> int:
    """Send until the server closes the connection; returns the number of bytes sent."""
    block = piece * max(1, 65536 // len(piece))
    sent = 0
    with suppress(OSError):
        while sent < ATTEMPTED_BYTES:
            sent += connection.send(block)
    return sent


class TestA48:
    @pytest.mark.parametrize(
        ("begin", "piece"),
        [
            pytest.param(b"0\r\n", b"X-Trailer: " + b"y" * 100 + b"\r\n", id="trailers"),
            pytest.param(b"0\r\n", b"a:\r\n", id="empty trailers"),
            pytest.param(b"0\r\nX-Trailer: ", b"y" * 1000, id="one trailer"),
            pytest.param(b"1;", b"y" * 1000, id="one extension"),
            pytest.param(b"", b"1;" + b"y" * 1000 + b"\r\nx\r\n", id="extensions"),
            pytest.param(b"", b"1\r\nx\r\n", id="tiny chunks"),
            pytest.param(b"", b"000000000001\r\nx\r\n", id="padded sizes"),
        ],
    )
    def test_a48_framing_without_end_is_cut_off(
        self, api: Api, account: Account, begin: bytes, piece: bytes
    ) -> None:
        memory = psutil.Process().memory_info().rss
        with connected(api.url) as connection:
            connection.sendall(post(account))
            connection.sendall(begin)
            sent = send_endlessly(connection, piece)
            response = read_until_closed(connection)
        grown = psutil.Process().memory_info().rss - memory
        # What lies in the buffers of two kernels and of the server's reads comes on top.
        assert sent < 16 * MIB, "the connection was not closed"
        assert grown < 32 * MIB
        # The response may be lost if the client is still sending when the server closes.
        assert response == b"" or parse_error(response)[0] == 400

    def test_a48_trailers_are_not_kept(
        self, api: Api, account: Account, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kept: list[bytes] = []
        on_header = HttpToolsProtocol.on_header

        def count(protocol: HttpToolsProtocol, name: bytes, value: bytes) -> None:
            kept.append(name)
            on_header(protocol, name, value)

        monkeypatch.setattr(HttpToolsProtocol, "on_header", count)
        with connected(api.url) as connection:
            connection.sendall(post(account) + chunk(b"{}") + b"0\r\nX-Trailer: 1\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 400")
        assert b"x-trailer" not in [name.lower() for name in kept]

    def test_a48_tiny_chunks_are_joined_before_they_are_appended(
        self, api: Api, account: Account, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """uvicorn copies the body that has arrived for each chunk that it appends."""
        counts = {"appends": 0, "reads": 0}
        on_body, data_received = HttpToolsProtocol.on_body, BoundedHttpProtocol.data_received

        def count_append(protocol: HttpToolsProtocol, body: bytes) -> None:
            counts["appends"] += 1
            on_body(protocol, body)

        def count_read(protocol: BoundedHttpProtocol, data: bytes) -> None:
            counts["reads"] += 1
            data_received(protocol, data)

        monkeypatch.setattr(HttpToolsProtocol, "on_body", count_append)
        monkeypatch.setattr(BoundedHttpProtocol, "data_received", count_read)
        with connected(api.url) as connection:
            connection.sendall(post(account) + chunk(b"x") * 8000 + b"0\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 400")
        assert counts["appends"] <= counts["reads"] + 1

    def test_a48_ordinary_chunks_are_accepted(self, api: Api, account: Account) -> None:
        """Lines of a generator, more of them than the allowance for framing."""
        lines = [b'{"model": "unknown", "messages": [],\n', *[b'  "seed": 1,\n'] * 40_000]
        body = b"".join(map(chunk, [*lines, b'"n": 1}']))
        assert len(body) - sum(map(len, lines)) > 2 * MAX_FRAMING_BYTES
        with connected(api.url) as connection:
            connection.sendall(post(account) + body + b"0\r\n\r\n")
            status, error = parse_error(connection.recv(65536))
        assert status == 400
        assert "chunk" not in str(error["message"])


class TestA49:
    def test_a49_a_key_in_a_trailer_does_not_count(self, api: Api, account: Account) -> None:
        trailer = f"Authorization: Bearer {account.secret}\r\n\r\n".encode()
        with connected(api.url) as connection:
            head = b"POST /v1/fine_tuning/jobs HTTP/1.1\r\nHost: x\r\n"
            head += b"Transfer-Encoding: chunked\r\n\r\n"
            connection.sendall(head + chunk(b"{}") + b"0\r\n" + trailer)
            assert parse_error(connection.recv(65536))[0] == 401

    @pytest.mark.parametrize(
        "trailer",
        [
            "Authorization: Bearer wrong",
            "OpenAI-Project: proj_other",
            "Content-Encoding: gzip",
            "Content-Type: text/plain",
            "Expect: 100-continue",
        ],
    )
    def test_a49_no_trailer_changes_the_request(
        self, api: Api, account: Account, trailer: str
    ) -> None:
        """All of these would change the response as a header."""
        with connected(api.url) as connection:
            connection.sendall(
                post(account) + chunk(b'{"model": "unknown", "messages": []}') + b"0\r\n"
            )
            connection.sendall(trailer.encode() + b"\r\n\r\n")
            first = connection.recv(65536)
            connection.sendall(GET + b"\r\n")
            second = connection.recv(65536)
        assert second.startswith(b"HTTP/1.1 200"), "the connection stays open"
        assert parse_error(first)[0] in (400, 404)

    @pytest.mark.parametrize("trailer", ["Content-Length: 9", "Transfer-Encoding: chunked"])
    def test_a49_a_length_in_a_trailer_is_malformed(
        self, api: Api, account: Account, trailer: str
    ) -> None:
        with connected(api.url) as connection:
            connection.sendall(post(account) + chunk(b"{}") + b"0\r\n")
            connection.sendall(trailer.encode() + b"\r\n\r\n" + GET + b"\r\n")
            responses = read_until_closed(connection)
        assert b"200 OK" not in responses, "what follows is not a request"


def test_a48_more_headers_than_a_request_may_have(api: Api) -> None:
    with connected(api.url) as connection:
        connection.sendall(GET + MAX_HEADERS * b"X: y\r\n" + b"\r\n")
        assert parse_error(read_until_closed(connection))[0] == 431


def test_a48_headers_in_one_packet_are_bounded_too(api: Api) -> None:
    with connected(api.url) as connection:
        connection.sendall(
            GET + b"".join(b"X: %b\r\n" % (b"y" * 1000) for _ in range(80)) + b"\r\n"
        )
        assert parse_error(read_until_closed(connection))[0] == 431


def test_a48_pipelined_requests_are_bounded(api: Api) -> None:
    with connected(api.url) as connection:
        connection.sendall((GET + b"\r\n") * 1000)
        responses = read_until_closed(connection)
    assert responses.count(b"HTTP/1.1 ") <= MAX_PIPELINED_REQUESTS + 1


def test_a48_blank_lines_hold_no_connection(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedHttpProtocol, "header_timeout_seconds", 1)
    with connected(api.url) as connection:
        connection.sendall(GET + b"\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.settimeout(0.02)
        received = b""
        while not received:
            with suppress(ConnectionError):
                connection.sendall(b"\r\n")
            with suppress(TimeoutError):
                received = connection.recv(65536) or b"closed"
        assert received.startswith(b"HTTP/1.1 408")
