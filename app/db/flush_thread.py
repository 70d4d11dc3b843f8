"""Background thread that writes what a process has collected to the database, at an interval."""

import threading
from collections.abc import Callable

from app import logs
from app.db.session import DatabaseUnavailable

log = logs.get_logger(__name__)


class FlushThread:
    """Calls `flush` at an interval; `start` and `stop` are called once each.

    `flush` keeps what it cannot write, and raises DatabaseUnavailable then. `event` is the first
    part of the names of log lines, and of the thread's.
    """

    def __init__(
        self,
        flush: Callable[[], None],
        *,
        event: str,
        interval_seconds: float,
        describe_pending: Callable[[], dict[str, int]] = dict,
    ) -> None:
        """`describe_pending` counts what is lost if the last flush fails."""
        self._flush = flush
        self._event = event
        self._interval_seconds = interval_seconds
        self._describe_pending = describe_pending
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=event, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, last_flush: Callable[[], None]) -> None:
        """Stop the thread, and flush once more."""
        self._stopping.set()
        self._thread.join()
        try:
            last_flush()
        except DatabaseUnavailable as error:
            log.error(f"{self._event}.lost", **self._describe_pending(), reason=str(error))

    def _run(self) -> None:
        while not self._stopping.wait(self._interval_seconds):
            try:
                self._flush()
            except DatabaseUnavailable as error:
                log.warning(f"{self._event}.flush_postponed", reason=str(error))
            except Exception as error:
                # Only its kind: the message may quote texts. Losing a batch is better than losing
                # the thread.
                log.error(f"{self._event}.failed", kind=type(error).__name__)
