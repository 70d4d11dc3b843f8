"""`python -m app.cpu_pool.worker SOCKET PARENT`: the worker process. Does one frame at a time.

Imports almost nothing but its tasks. It has a low priority and bounded memory, and ends with its
parent.
"""

import importlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from io import BufferedRWPair
from pathlib import Path
from typing import Any

from app.cpu_pool.protocol import (
    REPLY_HEADER,
    REQUEST_HEADER,
    FrameKind,
    ReplyStatus,
    StreamTask,
)
from app.parent_death import die_with_parent

# Address space. A task that needs more gets a MemoryError.
MAX_MEMORY_BYTES = 2 * 2**30
# Requests, training and serving come first.
NICENESS = 10
# Of 1000: where memory runs out, the kernel ends a worker before the API.
OOM_SCORE_ADJUSTMENT = 500

# Of the description of an exception, which may quote the task's input.
MAX_ERROR_CHARS = 1000


class Worker:
    """The open streams of one process."""

    def __init__(self) -> None:
        self._streams: dict[int, StreamTask] = {}

    def handle(self, kind: FrameKind, stream_id: int, task: str, payload: bytes) -> bytes:
        """Do one request. A stream whose task raises an exception is discarded."""
        if kind == FrameKind.CALL:
            result: bytes = _find_task(task)(payload)
            return result
        stream = self._streams.pop(stream_id, None)
        if kind == FrameKind.DISCARD:
            return b""
        if stream is None:
            # Only the first frame of a stream names its task.
            stream = _find_task(task)()
        if kind == FrameKind.FINISH:
            return stream.finish()
        stream.feed(payload)
        self._streams[stream_id] = stream
        return b""


def serve(connection: BufferedRWPair) -> None:
    """Answer requests until the parent closes the connection."""
    worker = Worker()
    while header := connection.read(REQUEST_HEADER.size):
        kind, stream_id, name_length, length = REQUEST_HEADER.unpack(header)
        task, payload = connection.read(name_length).decode(), connection.read(length)
        status, reply = ReplyStatus.OK, b""
        try:
            reply = worker.handle(FrameKind(kind), stream_id, task, payload)
        except MemoryError:
            status = ReplyStatus.OUT_OF_MEMORY
        except Exception as error:
            status, reply = ReplyStatus.ERROR, _describe(error)
        del payload
        connection.write(REPLY_HEADER.pack(status, len(reply)) + reply)
        connection.flush()


def _describe(error: Exception) -> bytes:
    # The text may have lone surrogates from a client's JSON, which UTF-8 cannot encode.
    text = f"{type(error).__name__}: {error}"[:MAX_ERROR_CHARS]
    return text.encode(errors="backslashreplace")


def _find_task(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    task: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return task


def _limit_resources() -> None:
    os.nice(NICENESS)
    # Not every system has these limits.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE_ADJUSTMENT), encoding="ascii")


def main(descriptor: int, parent: int) -> None:
    die_with_parent()
    if os.getppid() != parent:
        sys.exit(f"The parent process {parent} has ended already.")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit_resources()
    with socket.socket(fileno=descriptor) as connection, connection.makefile("rwb") as stream:
        # The parent has ended, or it has closed the connection while it was waiting for a reply.
        with suppress(BrokenPipeError, ConnectionResetError):
            serve(stream)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
