"""Stall detection: notices a training process that is alive but does nothing."""

import time
from collections.abc import Callable

from worker.run_folder import RunFolder

# Before its first event training may download and convert a base model and read a large file, which
# is silent and takes far longer than any step.
FIRST_EVENT_TIMEOUT_FACTOR = 6.0


class StallWatchdog:
    """Detects a stall; poll it often. Progress means that the run folder's event file grows.

    The first event may take `FIRST_EVENT_TIMEOUT_FACTOR` times as long as later ones.
    """

    def __init__(
        self,
        folder: RunFolder,
        *,
        timeout_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._events = folder.events
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._size = 0
        self._since = clock()

    def is_stalled(self) -> bool:
        """True if no event has been written for longer than the timeout."""
        size = self._events.stat().st_size if self._events.exists() else 0
        if size != self._size:
            self._size, self._since = size, self._clock()
        factor = 1.0 if size else FIRST_EVENT_TIMEOUT_FACTOR
        timeout = factor * self._timeout_seconds
        return self._clock() - self._since > timeout
