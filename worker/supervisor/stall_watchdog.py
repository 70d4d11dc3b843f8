"""Notices a training process that lives and does nothing: a deadlock, a dead device."""

import time
from collections.abc import Callable

from worker.rundir import RunFolder

# Before its first record training may fetch and convert a base model and read a large file, all of
# which it does without a word, and which takes far longer than any step.
FIRST_RECORD_TIMEOUT_FACTOR = 6.0


class StallWatchdog:
    """Ask often. Progress is that the journal of the run folder grows, whoever reads it.

    For the first record there is `FIRST_RECORD_FACTOR` times the patience.
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
        """Whether nothing has been written for longer than there is patience for."""
        size = self._events.stat().st_size if self._events.exists() else 0
        if size != self._size:
            self._size, self._since = size, self._clock()
        patience = (
            self._timeout_seconds if size else self._timeout_seconds * FIRST_RECORD_TIMEOUT_FACTOR
        )
        return self._clock() - self._since > patience
