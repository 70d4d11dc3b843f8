"""Handle of one worker process: start it, exchange frames with it, kill it."""

import asyncio
import os
import socket
import subprocess
import sys
from typing import Self

from app.cpu_pool.protocol import (
    REPLY_HEADER,
    Frame,
    ReplyStatus,
    TaskCrashed,
    TaskOutOfMemory,
    WorkerLost,
)

# Workers need no credentials, so they inherit nothing else.
INHERITED_VARIABLES = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LANG", "LC_ALL", "TMPDIR")


class WorkerProcess:
    """One worker process, and the streams that it holds."""

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.streams: set[int] = set()
        self.is_working = False
        self.has_ended = False
        # Set when there may be a step to do.
        self.wake = asyncio.Event()
        self._process = process
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(cls) -> Self:
        """Start a process. Raises OSError."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = _spawn(theirs.fileno())
            return cls(process, *await asyncio.open_connection(sock=ours))
        except BaseException:
            ours.close()
            raise

    @property
    def is_busy(self) -> bool:
        return self.is_working or bool(self.streams)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def exchange(self, frame: Frame) -> bytes:
        """Have one frame done.

        Raises TaskCrashed or TaskOutOfMemory, or WorkerLost if the process has ended.
        """
        try:
            self._writer.write(frame.encode_header())
            self._writer.write(frame.payload)
            await self._writer.drain()
            header = await self._reader.readexactly(REPLY_HEADER.size)
            status, length = REPLY_HEADER.unpack(header)
            reply = await self._reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise WorkerLost(f"Worker process {self.pid} has ended.") from error
        if status == ReplyStatus.OUT_OF_MEMORY:
            raise TaskOutOfMemory(f"Worker process {self.pid} has no memory for this task.")
        if status == ReplyStatus.ERROR:
            raise TaskCrashed(reply.decode())
        return reply

    async def kill(self) -> None:
        """End the process. A worker has nothing to lose."""
        self.has_ended = True
        self._writer.close()
        self._process.kill()
        # In a thread, because freeing much memory takes a while.
        await asyncio.get_running_loop().run_in_executor(None, self._process.wait)


def _spawn(descriptor: int) -> "subprocess.Popen[bytes]":
    """Start a worker, in the thread of the event loop: it would end with a thread of its own.

    Without a `preexec_fn` that is a vfork, safe in a process with threads and done in milliseconds.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "app.cpu_pool.worker", str(descriptor), str(os.getpid())],
        env={name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ},
        stdin=subprocess.DEVNULL,
        pass_fds=[descriptor],
        # A Ctrl-C in the terminal is for the API, which closes its pool.
        start_new_session=True,
    )
