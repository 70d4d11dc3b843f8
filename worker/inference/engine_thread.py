"""The thread that runs all engines: it handles commands between steps and sleeps when idle."""

import queue
import threading
from dataclasses import dataclass

from app import logs
from app.errors import ApiError, ServiceUnavailable
from worker.inference.engine import Engine
from worker.inference.messages import Failed, Request

# Requests that may wait for a slot, per base model. Beyond that a client should retry later
# instead of holding a connection open.
MAX_WAITING_REQUESTS = 256

log = logs.get_logger(__name__)


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
class _Stop:
    error: ApiError


_Command = _Submit | _Abort | _Stop


class EngineThread:
    """Steps the busy engines in turn. Its methods are thread-safe."""

    def __init__(self, *, max_waiting: int = MAX_WAITING_REQUESTS) -> None:
        self._commands: queue.SimpleQueue[_Command] = queue.SimpleQueue()
        self._max_waiting = max_waiting
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
        """Queue a request. Raises ServiceUnavailable if too many wait or the thread is stopping."""
        if self._stopped.is_set():
            raise ServiceUnavailable("The engine is restarting. Please try again in a moment.")
        if self._commands.qsize() + len(engine.scheduler.waiting) >= self._max_waiting:
            raise ServiceUnavailable("The engine is currently overloaded, please try again later")
        self._commands.put(_Submit(engine, request))

    def abort(self, engine: Engine, request: Request, choice: int | None = None) -> None:
        """Drop a request, or one choice of it, before the next step."""
        self._commands.put(_Abort(engine, request, choice))

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

    def _execute(self, command: _Submit | _Abort) -> None:
        if isinstance(command, _Abort):
            command.engine.abort(command.request, command.choice)
            return
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
