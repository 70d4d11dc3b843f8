"""Loads of a project that misbehaves as hard as its limits allow, one per shared pool of the API.

Each is a context manager: the load runs while the block does, and ends with it. A test asserts in
the block that another project gets through.
"""

import json
import select
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import httpx

from tests.raw_http import connected

BOUNDARY = "load"
FORM_HEAD = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
).encode()
FORM_END = f"\r\n--{BOUNDARY}--\r\n".encode()
# Above the API's minimum of 8 KiB/s.
DRIBBLED_BYTES_PER_SECOND = 9 * 1024
# Never complete: the server waits for the rest of each body.
DECLARED_BYTES = 1_000_000


def upload_head(secret: str, length: int) -> bytes:
    return (
        f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def slow_to_validate(size: int) -> bytes:
    """A training file of about this size whose rows all take the validator's slow path."""
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [{"type": "text", "text": "b"}]},
    ]
    row = json.dumps({"messages": messages * 10}).encode() + b"\n"
    return row * max(1, size // len(row))


@contextmanager
def dribbled_uploads(url: str, secret: str, *, count: int = 70) -> Iterator[list[socket.socket]]:
    """Upload slots and threads: this many uploads, each at 9 KB/s. Yields their connections."""
    stop = threading.Event()
    with ExitStack() as stack:
        connections = [stack.enter_context(connected(url)) for _ in range(count)]
        for connection in connections:
            connection.sendall(upload_head(secret, DECLARED_BYTES) + FORM_HEAD)
        dribbler = threading.Thread(target=_dribble, args=(connections, stop))
        dribbler.start()
        stack.callback(dribbler.join)
        stack.callback(stop.set)
        yield connections


def _dribble(connections: list[socket.socket], stop: threading.Event) -> None:
    while not stop.wait(1):
        for connection in connections:
            with suppress(OSError):
                connection.send(b"\n" * DRIBBLED_BYTES_PER_SECOND)


@contextmanager
def validated_uploads(
    url: str, secret: str, *, count: int = 24, size: int = 10**6
) -> Iterator[None]:
    """Validators: uploads of files that are slow to validate, one after the other on each of
    `count` connections."""
    content, stop = slow_to_validate(size), threading.Event()

    def upload_repeatedly() -> None:
        headers = {"Authorization": f"Bearer {secret}"}
        with httpx.Client(base_url=url, headers=headers, timeout=120) as client:
            while not stop.is_set():
                client.post(
                    "/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.jsonl", content)}
                )

    with ThreadPoolExecutor(count) as uploaders:
        for _ in range(count):
            uploaders.submit(upload_repeatedly)
        try:
            yield
        finally:
            stop.set()


def count_answered(connections: list[socket.socket]) -> int:
    """The number of connections on which the server has responded, or which it has closed."""
    return len(select.select(connections, [], [], 0)[0])
