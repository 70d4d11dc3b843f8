"""The fork server of this trainer: started, asked for training processes, and given up.

It only saves time: whenever it cannot fork, is slow, was killed or must give back its memory, the
supervisor starts training as a process of its own.
"""

import ctypes
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from app import logs
from worker.fork_request import GO, READY, ForkRequest, PreloadRequest, read_line
from worker.host_memory import HostMemory
from worker.supervisor.slots import VISIBLE_DEVICES

log = logs.get_logger(__name__)

# From prctl(2): orphans below this process become its children.
PR_SET_CHILD_SUBREAPER = 36
# It takes about 240 MB of its own. With less left than this it is given up, and with less than
# twice as much it is not started.
MIN_AVAILABLE_BYTES = 10**9
# Time without a job after which its memory is worth more than a second of the next job.
IDLE_SECONDS = 1800.0
# Time that the first jobs wait for a server that has just started: to start by themselves takes as
# long. It counts from the server's start, so that jobs do not wait one after another.
START_SECONDS = 5.0
# A large base model may have to be mapped first.
REPLY_TIMEOUT_SECONDS = 30.0
# Time until one that ended by itself is started again.
RESTART_SECONDS = 60.0
NOTHING = PreloadRequest(preload=(), models="")


class ForkServerClient:
    """The fork server of one trainer. Thread-safe.

    `maintain` starts it, in a thread that must outlive it: the kernel kills it with that thread.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: dict[str, str],
        folder: Path,
        *,
        preload: PreloadRequest = NOTHING,
        memory: HostMemory | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`environment` is that of the training processes, and `folder` a private one.

        `preload` is the first request to a server that has started, which forks nothing before
        it has answered that.
        """
        self._command = command
        self._environment = environment
        self._folder = folder
        self._preload = preload
        self._memory = memory or HostMemory()
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ready = False
        self._used_at = clock()
        self._started_at = 0.0
        self._start_at = 0.0
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The process id of the running server, if there is one."""
        return None if self._process is None else self._process.pid

    def maintain(self) -> None:
        """Start it if it should run and does not; stop it if it should not."""
        with self._lock:
            is_idle = self._clock() - self._used_at > IDLE_SECONDS
            if self._process is not None and self._process.poll() is not None:
                log.warning("fork_server.ended", exit_code=self._process.returncode)
                self._start_at = self._clock() + RESTART_SECONDS
                self._stop()
            if self._process is not None and (is_idle or self._available() < MIN_AVAILABLE_BYTES):
                log.info("fork_server.given_up", is_idle=is_idle)
                self._stop()
            if self._process is None and not is_idle and self._clock() >= self._start_at:
                if self._available() >= 2 * MIN_AVAILABLE_BYTES:
                    self._start()

    def fork(self, request: ForkRequest) -> int | None:
        """Fork a training process; return its id, or None if it must be started otherwise.

        It is a child of this process.
        """
        with self._lock:
            self._used_at = self._clock()
            if self._process is None or self._process.poll() is not None:
                return None
            # CUDA reads the devices when it is initialized, which is after the fork.
            devices = {VISIBLE_DEVICES: request.environment.get(VISIBLE_DEVICES)}
            if request.environment | devices != self._environment | devices:
                # Libraries read theirs when they are imported: the next one has this job's.
                self._environment = request.environment
                self._stop()
                return None
            try:
                if not self._wait_until_ready(self._process):
                    return None
                return self._exchange(self._process, request)
            except (OSError, ValueError) as error:
                # It may have forked a process that never gets its GO, and ends with it.
                log.warning("fork_server.failed", reason=str(error))
                self._stop()
                self._start_at = self._clock() + RESTART_SECONDS
                return None

    def close(self) -> None:
        """Stop it. The processes that it forked run on."""
        with self._lock:
            self._start_at = float("inf")
            self._stop()

    def _start(self) -> None:
        if not _adopt_orphans():
            self._start_at = float("inf")
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
            self._is_ready, self._started_at = False, self._clock()
            # Shorter than the pipe's buffer.
            assert self._process.stdin is not None
            self._process.stdin.write(self._preload.to_line())
            self._process.stdin.flush()
        except OSError as error:
            log.warning("fork_server.not_started", reason=str(error))
            self._stop()
            self._start_at = self._clock() + RESTART_SECONDS

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def _wait_until_ready(self, process: "subprocess.Popen[bytes]") -> bool:
        """Return whether it has said that it is ready; wait for that soon after its start only."""
        if not self._is_ready:
            left = max(0.0, self._started_at + START_SECONDS - self._clock())
            self._is_ready = _read_reply(process, left) == READY
        return self._is_ready

    def _exchange(self, process: "subprocess.Popen[bytes]", request: ForkRequest) -> int | None:
        assert process.stdin is not None
        process.stdin.write(request.to_line())
        process.stdin.flush()
        reply = _read_reply(process, REPLY_TIMEOUT_SECONDS)
        if reply is None:
            raise TimeoutError("It did not answer in time.")
        pid = int(reply or 0)
        if pid <= 0:
            return None
        process.stdin.write(GO)
        process.stdin.flush()
        return pid

    def _available(self) -> float:
        available = self._memory.available_bytes()
        return float("inf") if available is None else available


def _read_reply(process: "subprocess.Popen[bytes]", seconds: float) -> bytes | None:
    """Read a line that the server writes within so many seconds; b"" if it has ended."""
    assert process.stdout is not None
    output = process.stdout.fileno()
    written = select.poll()
    written.register(output, select.POLLIN)
    if not written.poll(seconds * 1000):
        return None
    return read_line(lambda size: os.read(output, size))


def _adopt_orphans() -> bool:
    """Become the parent of descendants whose parent ends; False where no system call does that."""
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
