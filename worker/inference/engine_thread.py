"""The thread that runs all engines: it handles commands between steps and sleeps when idle."""

import queue
import threading
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from app import logs
from app.errors import ApiError, RateLimited, ServiceUnavailable
from worker.inference.adapter_memory import AdapterFiles
from worker.inference.engine import Engine
from worker.inference.messages import Failed, Request

# Requests of one project that may wait for a slot, per base model. Beyond that a client should
# retry later instead of holding a connection open.
MAX_WAITING_PER_PROJECT = 256
# Requests of all projects that may wait, per base model.
MAX_WAITING_REQUESTS = 1024

log = logs.get_logger(__name__)


class TooManyWaitingRequests(RateLimited):
    """Too many requests of this project wait for the model. Retry when some have ended."""

    headers: ClassVar[dict[str, str]] = {"Retry-After": "5"}


@dataclass(frozen=True, slots=True)
class _Submit:
    engine: Engine
    request: Request


@dataclass(frozen=True, slots=True)
class _Abort:
    engine: Engine
    request: Request
    choice: int | None


@dataclass(frozen=True, slots=True)
class _Evict:
    engine: Engine
    adapter: AdapterFiles


@dataclass(frozen=True, slots=True)
class _Stop:
    error: ApiError


_Command = _Submit | _Abort | _Evict | _Stop


class EngineThread:
    """Steps the busy engines in turn. Its methods are thread-safe."""

    def __init__(
        self,
        *,
        max_waiting: int = MAX_WAITING_REQUESTS,
        max_waiting_per_project: int = MAX_WAITING_PER_PROJECT,
    ) -> None:
        self._commands: queue.SimpleQueue[_Command] = queue.SimpleQueue()
        # Requests by project that the thread has not taken from `_commands` yet.
        self._submitted: Counter[str] = Counter()
        self._submitted_lock = threading.Lock()
        self._max_waiting = max_waiting
        self._max_waiting_per_project = max_waiting_per_project
        self._busy_engines: list[Engine] = []
        self._stopped = threading.Event()
        # A daemon, so that a hanging step cannot keep the process alive.
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self.has_ended = False
        # True if the thread ended, or is stopping, because of an error.
        self.has_failed = False

    def start(self) -> None:
        self._thread.start()

    def submit(self, engine: Engine, request: Request) -> None:
        """Queue a request.

        Raises ServiceUnavailable if too many wait or the thread is stopping, and
        TooManyWaitingRequests if too many of the same project wait.
        """
        if self._stopped.is_set():
            raise ServiceUnavailable("The engine is restarting. Please try again in a moment.")
        self._check_capacity(engine, request.project)
        with self._submitted_lock:
            self._submitted[request.project] += 1
        self._commands.put(_Submit(engine, request))

    def _check_capacity(self, engine: Engine, project: str) -> None:
        submitted = self._submitted[project]
        if submitted + engine.scheduler.num_waiting_of(project) >= self._max_waiting_per_project:
            raise TooManyWaitingRequests
        if self._commands.qsize() + engine.scheduler.num_waiting >= self._max_waiting:
            raise ServiceUnavailable("The engine is currently overloaded, please try again later")

    def abort(self, engine: Engine, request: Request, choice: int | None = None) -> None:
        """Drop a request, or one choice of it, before the next step."""
        self._commands.put(_Abort(engine, request, choice))

    def evict(self, engine: Engine, adapter: AdapterFiles) -> None:
        """Erase an adapter from memory once no sequence uses it."""
        self._commands.put(_Evict(engine, adapter))

    def stop(self) -> None:
        """End after the current step; unfinished requests get an error."""
        self._stopped.set()
        self._commands.put(_Stop(ServiceUnavailable("The engine is restarting. Please try again.")))

    def fail(self) -> None:
        """Stop, and have the process exit with an error code."""
        self.has_failed = True
        self.stop()

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            while self._process_commands():
                for engine in self._busy_engines:
                    engine.step()
                self._busy_engines = [engine for engine in self._busy_engines if not engine.is_idle]
        # After an unknown error the thread's state cannot be trusted: fail all requests and let
        # the process be restarted.
        except BaseException as error:
            log.critical("engine.crashed", exc_info=error)
            self.has_failed = True
            self._stopped.set()
            self._fail_all(ApiError())
        finally:
            self.has_ended = True

    def _process_commands(self) -> bool:
        """Execute the queued commands; if no engine is busy, wait for one. False means stop."""
        sleep = not self._busy_engines
        while sleep or not self._commands.empty():
            command = self._commands.get()
            sleep = False
            if isinstance(command, _Stop):
                self._fail_all(command.error)
                return False
            self._execute(command)
        return True

    def _execute(self, command: _Submit | _Abort | _Evict) -> None:
        if isinstance(command, _Evict):
            command.engine.evict(command.adapter)
            return
        if isinstance(command, _Abort):
            command.engine.abort(command.request, command.choice)
            return
        with self._submitted_lock:
            self._submitted[command.request.project] -= 1
            if not self._submitted[command.request.project]:
                del self._submitted[command.request.project]
        command.engine.submit(command.request)
        if command.engine not in self._busy_engines:
            self._busy_engines.append(command.engine)

    def _fail_all(self, error: ApiError) -> None:
        for engine in self._busy_engines:
            engine.fail_all(error)
        while not self._commands.empty():
            command = self._commands.get()
            if isinstance(command, _Submit):
                command.request.emit(Failed(error))
