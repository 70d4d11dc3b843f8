"""The one thread that computes: it takes orders between steps and sleeps when there is no work."""

import queue
import threading
from dataclasses import dataclass

from app import logs
from app.errors import ApiError, ServiceUnavailable
from worker.inference.engine import Engine
from worker.inference.messages import Failed, Request

# Requests that may wait for a row, per base model. Whoever waits behind more than these had
# better ask again later than hold a connection open.
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
    """Steps all engines in turn. Its methods may be called from any thread."""

    def __init__(self, *, max_waiting: int = MAX_WAITING_REQUESTS) -> None:
        self._commands: queue.SimpleQueue[_Command] = queue.SimpleQueue()
        self._max_waiting = max_waiting
        # Those with work to do.
        self._busy_engines: list[Engine] = []
        self._stopped = threading.Event()
        # Daemon, so that a step that hangs cannot keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self.has_ended = False
        # Whether it ended, or is to end, because something is broken.
        self.has_failed = False

    def start(self) -> None:
        self._thread.start()

    def submit(self, engine: Engine, request: Request) -> None:
        """Queue a request. Raises Unavailable if too many wait or the thread is stopping."""
        if self._stopped.is_set():
            raise ServiceUnavailable("The engine is restarting. Please try again in a moment.")
        if self._commands.qsize() + len(engine.scheduler.waiting) >= self._max_waiting:
            raise ServiceUnavailable("The engine is currently overloaded, please try again later")
        self._commands.put(_Submit(engine, request))

    def abort(self, engine: Engine, request: Request, choice: int | None = None) -> None:
        """Forget a request, or one choice of it, before the next step."""
        self._commands.put(_Abort(engine, request, choice))

    def stop(self) -> None:
        """End after the step at hand; whoever is still waiting for tokens gets an error."""
        self._stopped.set()
        self._commands.put(_Stop(ServiceUnavailable("The engine is restarting. Please try again.")))

    def fail(self) -> None:
        """End because this process cannot do what it is for."""
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
        # Whatever it is, the thread's state can no longer be trusted: say so, and let the
        # process be started anew.
        except BaseException as error:
            log.critical("engine.crashed", exc_info=error)
            self.has_failed = True
            self._stopped.set()
            self._fail_all(ApiError())
        finally:
            self.has_ended = True

    def _process_commands(self) -> bool:
        """Carry out what was ordered; sleep until something is, if there is nothing else to do."""
        sleep = not self._busy_engines
        while sleep or not self._commands.empty():
            order = self._commands.get()
            sleep = False
            if isinstance(order, _Stop):
                self._fail_all(order.error)
                return False
            self._execute(order)
        return True

    def _execute(self, order: _Submit | _Abort) -> None:
        if isinstance(order, _Abort):
            order.engine.abort(order.request, order.choice)
            return
        order.engine.submit(order.request)
        if order.engine not in self._busy_engines:
            self._busy_engines.append(order.engine)

    def _fail_all(self, error: ApiError) -> None:
        for engine in self._busy_engines:
            engine.fail_all(error)
        while not self._commands.empty():
            order = self._commands.get()
            if isinstance(order, _Submit):
                order.request.emit(Failed(error))
