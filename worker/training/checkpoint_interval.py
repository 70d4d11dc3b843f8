"""Adaptive interval of the checkpoints within an epoch.

They are frequent enough that a killed process loses little work, and rare enough that saving takes
at most `MAX_OVERHEAD` of the time.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MAX_OVERHEAD = 0.01
# Each checkpoint is also uploaded to the object store.
MIN_INTERVAL_SECONDS = 10.0


class CheckpointInterval:
    """Decides when the next checkpoint is due, from the duration of the last save."""

    def __init__(
        self,
        *,
        min_seconds: float = MIN_INTERVAL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._min_seconds = min_seconds
        self._clock = clock
        self._save_seconds = 0.0
        self._saved_at = clock()

    @property
    def is_due(self) -> bool:
        return self._clock() - self._saved_at > max(
            self._min_seconds, self._save_seconds / MAX_OVERHEAD
        )

    @contextmanager
    def time_save(self) -> Iterator[None]:
        """Measure a save. Wraps the writing of every checkpoint, scheduled or not."""
        started_at = self._clock()
        yield
        self._saved_at = self._clock()
        self._save_seconds = self._saved_at - started_at
