"""HTTP on a raw socket, for requests that no client would send."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


@contextmanager
def connected(url: str, *, receive_buffer: int | None = None) -> Iterator[socket.socket]:
    """A connection, with a receive buffer of this many bytes if given."""
    address = urlsplit(url)
    with socket.socket() as connection:
        connection.settimeout(120)
        if receive_buffer is not None:
            # Before connecting, since the window is announced then.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.connect((address.hostname, address.port))
        yield connection


def read_until_closed(connection: socket.socket) -> bytes:
    """All bytes until the server closes the connection."""
    received = b""
    try:
        while data := connection.recv(65536):
            received += data
    except ConnectionResetError:
        pass
    return received


def parse_error(raw: bytes) -> tuple[int, dict[str, object]]:
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"x-request-id: req_" in head, raw
    assert b"content-type: application/json" in head
    return int(head.split()[1]), json.loads(body)["error"]
