"""Tasks, errors and the length-prefixed frames between the pool and its worker processes.

Each request frame gets exactly one reply, so a worker never has more than one frame to do.
"""

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple, Protocol

# Kind, stream id, length of the task's name, length of the payload.
REQUEST_HEADER = struct.Struct("!BQHI")
# Status, length of the payload.
REPLY_HEADER = struct.Struct("!BI")

# A function at the top level of a module.
Task = Callable[[bytes], bytes]


class StreamTask(Protocol):
    """A task that consumes a stream of bytes; a class at the top level of a module."""

    def feed(self, chunk: bytes, /) -> None: ...

    def finish(self) -> bytes: ...


class FrameKind(IntEnum):
    """The request of a frame. A stream is opened by its first FEED or FINISH."""

    CALL = 0
    FEED = 1
    FINISH = 2
    DISCARD = 3


class ReplyStatus(IntEnum):
    """The result of a request; the payload of an error is the exception's type and message."""

    OK = 0
    ERROR = 1
    OUT_OF_MEMORY = 2


class Frame(NamedTuple):
    """One request. `task` names a function for CALL, else the class of the stream."""

    kind: FrameKind
    stream_id: int
    task: str
    payload: bytes

    def encode_header(self) -> bytes:
        name = self.task.encode()
        header = REQUEST_HEADER.pack(self.kind, self.stream_id, len(name), len(self.payload))
        return header + name


class CpuPoolError(Exception):
    """A task was not done. Unless it crashed by itself, a retry may succeed."""


class PoolOverloaded(CpuPoolError):
    """Too many tasks are waiting."""


class WorkerLost(CpuPoolError):
    """The task's process ended, for example for want of memory."""


class TaskTimeout(WorkerLost):
    """The task took longer than its deadline, and its process was killed."""


class TaskOutOfMemory(CpuPoolError):
    """The task needed more memory than its process may have, which other streams use too."""


class TaskCrashed(CpuPoolError):
    """The task raised an exception."""


def task_name(task: Callable[..., object]) -> str:
    """The reference by which a worker imports a function or class."""
    return f"{task.__module__}:{task.__qualname__}"
