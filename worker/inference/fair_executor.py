"""A thread pool whose work is shared by projects, for tokenization and rendering."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from typing import TypeVar

from worker.inference.deficit_round_robin import DeficitRoundRobin

# Bytes or characters that one project may spend per round.
QUANTUM = 16 * 2**10
# Cost of a call itself. Without it, empty inputs would be free, and those of one project could come
# before all others' forever.
COST_PER_CALL = 64

Result = TypeVar("Result")


class FairExecutor:
    """Runs functions in daemon threads, those of projects in turn by the cost of their inputs."""

    def __init__(self, num_threads: int, name: str) -> None:
        self._queue: DeficitRoundRobin[Callable[[], None]] = DeficitRoundRobin(QUANTUM)
        self._changed = threading.Condition()
        for _ in range(num_threads):
            threading.Thread(target=self._work, name=name, daemon=True).start()

    async def run(self, project: str, cost: int, function: Callable[[], Result]) -> Result:
        """Run a function when it is the project's turn; not at all if the caller is cancelled."""
        return await asyncio.wrap_future(self.submit(project, cost, function))

    def submit(
        self, project: str, cost: int, function: Callable[[], Result]
    ) -> concurrent.futures.Future[Result]:
        """Queue a function."""
        future: concurrent.futures.Future[Result] = concurrent.futures.Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)

        with self._changed:
            self._queue.push(project, cost + COST_PER_CALL, work)
            self._changed.notify()
        return future

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: len(self._queue))
                work = self._queue.pop()
            work()
