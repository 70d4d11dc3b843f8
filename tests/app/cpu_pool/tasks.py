"""Tasks for tests of the CPU pool."""

import os
import signal
import time


def reverse(payload: bytes) -> bytes:
    return payload[::-1]


def sleep(payload: bytes) -> bytes:
    time.sleep(float(payload))
    return payload


def fail(payload: bytes) -> bytes:
    raise ValueError(payload.decode())


def fail_with_surrogate(_payload: bytes) -> bytes:
    raise ValueError("\ud800")


def die(_payload: bytes) -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    return b""


def take_memory(payload: bytes) -> bytes:
    return str(len(bytearray(int(payload)))).encode()


def describe_process(_payload: bytes) -> bytes:
    return f"{os.getpid()} {os.nice(0)} {' '.join(sorted(os.environ))}".encode()


class Joiner:
    """Joins the chunks of its stream; a chunk `!` raises an exception, `x` ends the process."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    def feed(self, chunk: bytes) -> None:
        if chunk == b"!":
            raise ValueError("no")
        if chunk == b"x":
            die(b"")
        self.chunks.append(chunk)

    def finish(self) -> bytes:
        return b"".join(self.chunks)
