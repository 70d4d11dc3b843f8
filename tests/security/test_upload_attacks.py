"""Attacks on bodies, forms and file names, by their numbers in the threat list."""

import gzip
import socket
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from tests.app.files.test_routes import (
    BOUNDARY,
    END,
    FILE,
    GOOD,
    PURPOSE,
    build_form_part,
    list_stored_paths,
    post,
)
from tests.app.http.test_admission import expect_error
from tests.live_api import Account, Api
from tests.polling import wait_until

FORM = f"multipart/form-data; boundary={BOUNDARY}"
BEGIN_FILE = build_form_part("file", b"", filename="a.jsonl").removesuffix(b"\r\n")
WHOLE = PURPOSE + FILE + END


def raw(
    api: Api, head: str, body: bytes, *, path: str = "/v1/files", then_leave: bool = False
) -> bytes:
    """Send a raw request. Returns the response, or nothing if the client disconnects first."""
    address = urlsplit(api.url)
    with socket.create_connection((address.hostname, address.port), timeout=120) as connection:
        lines = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\n{head}\r\n"
        connection.sendall(lines.encode() + body)
        if then_leave:
            return b""
        response = b""
        # The server may close with bytes unread.
        with suppress(ConnectionResetError):
            while more := connection.recv(2**16):
                response += more
        return response


def key_line(account: Account) -> str:
    return f"Authorization: Bearer {account.secret}\r\n"


def assert_flood_is_refused(http: httpx.Client, head: bytes, again: bytes) -> None:
    """The server rejects the flood or disconnects, long before it has received a gigabyte."""
    sent = 0

    def flood() -> Iterator[bytes]:
        nonlocal sent
        yield head
        while sent < 2**30:
            yield again
            sent += len(again)

    before = psutil.Process().memory_info().rss
    try:
        response = post(http, flood())
    except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        pass  # The server disconnected while we were still sending.
    else:
        assert response.status_code in (400, 413), response.text
    assert sent < 64 * 2**20, "the server kept reading"
    assert psutil.Process().memory_info().rss - before < 20 * 2**20


def test_a14_upload_without_a_key_is_refused_before_its_body(api: Api) -> None:
    response = raw(api, f"Content-Length: {100 * 2**20}\r\nConnection: close\r\n", b"")
    assert response.startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("filename", [None, "a.jsonl"])
def test_a15_thousand_parts_of_a_mebibyte(http: httpx.Client, filename: str | None) -> None:
    assert_flood_is_refused(http, PURPOSE, build_form_part("file", b"x" * 2**20, filename=filename))


class TestA17Bodies:
    @pytest.mark.parametrize(
        "path", ["/v1/uploads", "/v1/uploads/upload_x/complete", "/v1/fine_tuning/jobs"]
    )
    def test_body_of_100_megabytes(self, api: Api, account: Account, path: str) -> None:
        head = f"{key_line(account)}Content-Length: 100000000\r\nConnection: close\r\n"
        assert raw(api, head, b"{", path=path).startswith(b"HTTP/1.1 413 ")

    def test_endless_nesting(self, http: httpx.Client) -> None:
        for deep in (b"[" * 500_000, b'{"a":' * 100_000, b"[" * 200 + b"]" * 200):
            headers = {"Content-Type": "application/json"}
            expect_error(http.post("/v1/uploads", content=deep, headers=headers), 400)

    def test_million_keys(self, http: httpx.Client) -> None:
        keys = ",".join(f'"{number}":0' for number in range(10**6))
        headers = {"Content-Type": "application/json"}
        expect_error(http.post("/v1/uploads", content=f"{{{keys}}}", headers=headers), 413)

    def test_completion_with_ten_thousand_parts(self, http: httpx.Client) -> None:
        body = {"part_ids": ["part_x"] * 10_001}
        error = expect_error(http.post("/v1/uploads/upload_x/complete", json=body), 400)
        assert error["param"] == "part_ids"


class TestA18Forms:
    @pytest.mark.parametrize(
        ("head", "again"),
        [
            (b"", b"\r\n" * 2**19),
            (b"", b"x" * 2**20),
            (f"--{BOUNDARY}\r\n".encode(), b"X-Header: y\r\n" * 2**16),
            (f"--{BOUNDARY}\r\nX-Header: ".encode(), b"y" * 2**20),
            (f"--{BOUNDARY}\r\n".encode(), b"x" * 2**20),
            (b"", build_form_part("field", b"") * 2**14),
            (build_form_part("field", b"").removesuffix(b"\r\n"), b"x" * 2**20),
        ],
        ids=["preamble", "junk", "headers", "a header", "a name", "fields", "a field"],
    )
    def test_floods(self, http: httpx.Client, head: bytes, again: bytes) -> None:
        assert_flood_is_refused(http, head, again)

    @pytest.mark.parametrize(
        "content_type",
        [
            "multipart/form-data; boundary=" + '\\"' * 10_000,
            "multipart/form-data" + "; a=b" * 5_000,
            "multipart/form-data; boundary*0=a; boundary*1=b",
        ],
    )
    def test_malformed_boundaries(self, http: httpx.Client, content_type: str) -> None:
        headers = {"Content-Type": content_type}
        assert http.post("/v1/files", content=WHOLE, headers=headers).status_code == 400

    @pytest.mark.parametrize("more", [10, -10])
    def test_false_content_length(self, api: Api, account: Account, more: int) -> None:
        """Too short truncates the form; too long is a client that never sends the rest."""
        before = list_stored_paths(api)
        head = f"{key_line(account)}Content-Length: {len(WHOLE) + more}\r\nConnection: close\r\n"
        response = raw(api, head, WHOLE, then_leave=more > 0)
        assert more > 0 or response.startswith(b"HTTP/1.1 400 ")
        wait_until("the store is clean", lambda: list_stored_paths(api) == before)

    def test_endless_chunks(self, api: Api, account: Account) -> None:
        before = list_stored_paths(api)
        head = f"{key_line(account)}Transfer-Encoding: chunked\r\n"
        raw(api, head, f"{len(WHOLE):x}\r\n".encode() + WHOLE + b"\r\n", then_leave=True)
        wait_until("the store is clean", lambda: list_stored_paths(api) == before)


@pytest.mark.parametrize("ranges", ["bytes=" + ",".join(["0-"] * 5000), "bytes=5-2", "bytes=-1"])
def test_a20_range_requests_are_ignored(http: httpx.Client, ranges: str) -> None:
    file_id = post(http, WHOLE).json()["id"]
    response = http.get(f"/v1/files/{file_id}/content", headers={"Range": ranges})
    assert (response.status_code, response.content) == (200, GOOD)


@pytest.mark.parametrize("path", ["files", "uploads", "uploads/upload_x/parts"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip"])
def test_a22_compressed_bodies_are_refused(http: httpx.Client, path: str, encoding: str) -> None:
    headers = {"Content-Encoding": encoding, "Content-Type": FORM}
    bomb = gzip.compress(bytes(2**20))
    expect_error(http.post(f"/v1/{path}", content=bomb, headers=headers), 415)


class TestA34Paths:
    @pytest.mark.parametrize(
        "id_", ["..", "%2e%2e", "..%2f..%2fapi_key", "a%2Fb", "%00", "\N{FULLWIDTH FULL STOP}" * 2]
    )
    @pytest.mark.parametrize(
        "route", ["uploads/{}/parts", "uploads/{}/complete", "files/{}/content"]
    )
    def test_ids_that_are_paths(self, http: httpx.Client, id_: str, route: str) -> None:
        url = f"/v1/{route.format(id_)}"
        if route.startswith("files"):
            response = http.get(url)
        elif route.endswith("parts"):
            response = http.post(url, files={"data": b"x"})
        else:
            response = http.post(url, json={"part_ids": ["../../x"]})
        assert response.status_code in (404, 405), response.text

    def test_names_that_are_paths(self, api: Api, http: httpx.Client) -> None:
        """The name is text in the database; object keys in the store consist of ids only."""
        before = set(list_stored_paths(api))
        for name in (
            "../../../tmp/x.jsonl",
            "/etc/passwd",
            "..\\..\\x.jsonl",
            "\N{FULLWIDTH FULL STOP}" * 2,
        ):
            assert (
                post(http, PURPOSE + build_form_part("file", GOOD, filename=name) + END).status_code
                == 200
            )
            body = {"filename": name, "purpose": "vision", "bytes": 1, "mime_type": "x"}
            assert "/" not in http.post("/v1/uploads", json=body).json()["filename"]
        root = api.state.settings.home / "storage"
        for path in set(list_stored_paths(api)) - before:
            assert path.relative_to(root).parts[0] == "projects"
            assert path.name.startswith("file-")
