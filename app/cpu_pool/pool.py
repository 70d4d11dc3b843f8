"""Pool of worker processes: calls go to any process, the chunks of a stream to the same one."""

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from app import logs
from app.cpu_pool.fair_queue import FairQueue
from app.cpu_pool.process import WorkerProcess
from app.cpu_pool.protocol import (
    CpuPoolError,
    Frame,
    FrameKind,
    StreamTask,
    Task,
    TaskCrashed,
    TaskOutOfMemory,
    TaskTimeout,
    WorkerLost,
    task_name,
)

log = logs.get_logger(__name__)

# Of a call, and of one chunk of a stream. Tasks are bounded far below: one that takes this long
# would never end.
TASK_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class _Step:
    """One frame to exchange, and the future of its reply."""

    frame: Frame
    timeout_seconds: float
    reply: asyncio.Future[bytes]


class CpuPool:
    """Processes, started when they are first needed and replaced when they end.

    For one event loop; `close` it at the end. `processes` 0 means one per core but one.
    """

    def __init__(self, processes: int = 0) -> None:
        self._max_processes = processes or max(1, (os.cpu_count() or 1) - 1)
        self._workers: dict[WorkerProcess, asyncio.Task[None]] = {}
        self._starting = asyncio.Lock()
        self._queue: FairQueue[_Step] = FairQueue()
        self._stream_ids = itertools.count(1)
        self._is_closing = False

    async def call(
        self,
        owner: str,
        task: Task,
        payload: bytes,
        *,
        timeout_seconds: float = TASK_TIMEOUT_SECONDS,
    ) -> bytes:
        """Run `task(payload)` in a process. `owner` is the project that the time is charged to.

        Raises the subclasses of CpuPoolError.
        """
        await self._ensure_workers()
        frame = Frame(FrameKind.CALL, 0, task_name(task), payload)
        return await self._submit(owner, frame, None, timeout_seconds)

    @asynccontextmanager
    async def stream(
        self, owner: str, task: Callable[[], StreamTask]
    ) -> AsyncIterator["TaskStream"]:
        """Open a stream to a new `task()` in one process. It is discarded when the block ends."""
        await self._ensure_workers()
        worker = min(self._workers, key=lambda each: len(each.streams))
        stream = TaskStream(self, owner, worker, next(self._stream_ids), task_name(task))
        worker.streams.add(stream.id)
        try:
            yield stream
        finally:
            worker.streams.discard(stream.id)
            self._discard(stream)

    async def close(self) -> None:
        """End all processes; whatever waits for them gets WorkerLost."""
        self._is_closing = True
        runners = list(self._workers.values())
        for runner in runners:
            runner.cancel()
        await asyncio.gather(*runners, return_exceptions=True)
        for step in self._queue.remove_consumer(None):
            _fail(step, WorkerLost("The pool is closing."))

    @property
    def worker_pids(self) -> list[int]:
        return [worker.pid for worker in self._workers]

    @property
    def open_streams(self) -> int:
        return sum(len(worker.streams) for worker in self._workers)

    async def _submit(
        self, owner: str, frame: Frame, worker: WorkerProcess | None, timeout_seconds: float
    ) -> bytes:
        if worker is not None and worker.has_ended:
            raise WorkerLost(f"Worker process {worker.pid} has ended.")
        step = _new_step(frame, timeout_seconds)
        self._queue.push(owner, step, consumer=worker)
        self._wake_workers()
        return await step.reply

    def _discard(self, stream: "TaskStream") -> None:
        """Have the stream's process forget it, without waiting."""
        if not stream.worker.has_ended:
            step = _new_step(Frame(FrameKind.DISCARD, stream.id, "", b""), TASK_TIMEOUT_SECONDS)
            step.reply.add_done_callback(_ignore_result)
            self._queue.push(stream.owner, step, consumer=stream.worker, has_limit=False)
            self._wake_workers()

    def _wake_workers(self) -> None:
        for worker in self._workers:
            worker.wake.set()

    async def _ensure_workers(self) -> None:
        """Start one more process, unless all run or one is idle. Raises WorkerLost."""
        async with self._starting:
            if self._is_closing:
                raise WorkerLost("The pool is closing.")
            if self._workers and (
                len(self._workers) == self._max_processes
                or any(not worker.is_busy for worker in self._workers)
            ):
                return
            try:
                worker = await WorkerProcess.start()
            except OSError as error:
                if self._workers:
                    return
                raise WorkerLost(f"No process can be started: {error}") from error
            self._workers[worker] = asyncio.create_task(self._run(worker))

    async def _run(self, worker: WorkerProcess) -> None:
        """Do steps in a process until it fails at one."""
        try:
            while True:
                taken = self._queue.pop(worker)
                if taken is None:
                    worker.wake.clear()
                    await worker.wake.wait()
                    continue
                owner, step = taken
                # Otherwise its caller has gone.
                if not step.reply.done():
                    await self._do(worker, owner, step)
        except WorkerLost as error:
            log.warning("cpu_pool.worker_lost", reason=str(error))
        except Exception:
            log.exception("cpu_pool.failed")
        finally:
            await self._remove(worker)

    async def _do(self, worker: WorkerProcess, owner: str, step: _Step) -> None:
        """Do one step. Raises WorkerLost if the process cannot be used any more."""
        started_at = time.monotonic()
        worker.is_working = True
        try:
            async with asyncio.timeout(step.timeout_seconds):
                reply = await worker.exchange(step.frame)
        except TimeoutError:
            error = TaskTimeout(f"A task took over {step.timeout_seconds:g} seconds.")
            _fail(step, error)
            raise error from None
        except (TaskCrashed, TaskOutOfMemory) as error:
            _fail(step, error)
        except WorkerLost as error:
            _fail(step, error)
            raise
        except asyncio.CancelledError:
            _fail(step, WorkerLost("The pool is closing."))
            raise
        else:
            if not step.reply.done():
                step.reply.set_result(reply)
        finally:
            # No caller may wait forever, whatever has been raised.
            _fail(step, WorkerLost(f"Worker process {worker.pid} cannot be used any more."))
            worker.is_working = False
            self._queue.charge(owner, time.monotonic() - started_at)

    async def _remove(self, worker: WorkerProcess) -> None:
        """Forget a process, and replace it if there is more to do."""
        worker.has_ended = True
        del self._workers[worker]
        for step in self._queue.remove_consumer(worker):
            _fail(step, WorkerLost(f"Worker process {worker.pid} has ended."))
        await worker.kill()
        if self._queue and not self._is_closing:
            await self._replace()

    async def _replace(self) -> None:
        try:
            await self._ensure_workers()
        except WorkerLost as error:
            for step in self._queue.remove_consumer(None):
                _fail(step, error)


class TaskStream:
    """A stream of bytes to one task. Its calls raise the same errors as `CpuPool.call`, and after
    an error the stream cannot be used any more."""

    def __init__(
        self, pool: CpuPool, owner: str, worker: WorkerProcess, stream_id: int, task: str
    ) -> None:
        self.owner = owner
        self.worker = worker
        self.id = stream_id
        self._pool = pool
        # Sent with the first frame only: a later one cannot open the stream anew.
        self._task = task
        self._is_usable = True

    async def feed(self, chunk: bytes) -> None:
        """Have the task consume the next bytes; returns when it has."""
        await self._send(FrameKind.FEED, chunk)
        self._is_usable = True

    async def finish(self) -> bytes:
        """The task's result. The last call."""
        return await self._send(FrameKind.FINISH, b"")

    async def _send(self, kind: FrameKind, payload: bytes) -> bytes:
        if not self._is_usable:
            raise WorkerLost("The stream has failed or ended before.")
        self._is_usable = False
        frame = Frame(kind, self.id, self._task, payload)
        self._task = ""
        return await self._pool._submit(self.owner, frame, self.worker, TASK_TIMEOUT_SECONDS)


def _new_step(frame: Frame, timeout_seconds: float) -> _Step:
    return _Step(frame, timeout_seconds, asyncio.get_running_loop().create_future())


def _fail(step: _Step, error: CpuPoolError) -> None:
    if not step.reply.done():
        step.reply.set_exception(error)


def _ignore_result(reply: asyncio.Future[bytes]) -> None:
    if not reply.cancelled():
        reply.exception()
