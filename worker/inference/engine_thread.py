"""The one thread that computes: it takes orders between steps and sleeps when there is no work."""

import queue
import threading
from dataclasses import dataclass

from app import logs
from app.errors import ApiError, Unavailable
from worker.inference.engine import Engine
from worker.inference.messages import Failed, Request

# Requests that may wait for a row, per base model. Whoever waits behind more than these had
# better ask again later than hold a connection open.
MOST_WAITING = 256

log = logs.get(__name__)


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


_Order = _Submit | _Abort | _Stop


class EngineThread:
    """Steps all engines in turn. Its methods may be called from any thread."""

    def __init__(self, *, most_waiting: int = MOST_WAITING) -> None:
        self._orders: queue.SimpleQueue[_Order] = queue.SimpleQueue()
        self._most_waiting = most_waiting
        # Those with work to do.
        self._engines: list[Engine] = []
        self._stopped = threading.Event()
        # Daemon, so that a step that hangs cannot keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self.ended = False
        # Whether it ended, or is to end, because something is broken.
        self.failed = False

    def start(self) -> None:
        self._thread.start()

    def submit(self, engine: Engine, request: Request) -> None:
        """Queue a request. Raises Unavailable if too many wait or the thread is stopping."""
        if self._stopped.is_set():
            raise Unavailable("The engine is restarting. Please try again in a moment.")
        if self._orders.qsize() + len(engine.scheduler.waiting) >= self._most_waiting:
            raise Unavailable("The engine is currently overloaded, please try again later")
        self._orders.put(_Submit(engine, request))

    def abort(self, engine: Engine, request: Request, choice: int | None = None) -> None:
        """Forget a request, or one choice of it, before the next step."""
        self._orders.put(_Abort(engine, request, choice))

    def stop(self) -> None:
        """End after the step at hand; whoever is still waiting for tokens gets an error."""
        self._stopped.set()
        self._orders.put(_Stop(Unavailable("The engine is restarting. Please try again.")))

    def give_up(self) -> None:
        """End because this process cannot do what it is for."""
        self.failed = True
        self.stop()

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            while self._take_orders():
                for engine in self._engines:
                    engine.step()
                self._engines = [engine for engine in self._engines if not engine.idle]
        # Whatever it is, the thread's state can no longer be trusted: say so, and let the
        # process be started anew.
        except BaseException as error:
            log.critical("engine.crashed", exc_info=error)
            self.failed = True
            self._stopped.set()
            self._fail_all(ApiError())
        finally:
            self.ended = True

    def _take_orders(self) -> bool:
        """Carry out what was ordered; sleep until something is, if there is nothing else to do."""
        sleep = not self._engines
        while sleep or not self._orders.empty():
            order = self._orders.get()
            sleep = False
            if isinstance(order, _Stop):
                self._fail_all(order.error)
                return False
            self._carry_out(order)
        return True

    def _carry_out(self, order: _Submit | _Abort) -> None:
        if isinstance(order, _Abort):
            order.engine.abort(order.request, order.choice)
            return
        order.engine.submit(order.request)
        if order.engine not in self._engines:
            self._engines.append(order.engine)

    def _fail_all(self, error: ApiError) -> None:
        for engine in self._engines:
            engine.fail_all(error)
        while not self._orders.empty():
            order = self._orders.get()
            if isinstance(order, _Submit):
                order.request.emit(Failed(error))
