"""How often to save between the ends of passes: so often that little is lost with the process, and
so seldom that no more than a hundredth of the time goes into it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MAX_OVERHEAD = 0.01
# Each checkpoint also has to be brought into the store.
MIN_INTERVAL_SECONDS = 10.0


class CheckpointInterval:
    """By what the last checkpoint has cost."""

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
        """Around the writing of a checkpoint, for whatever reason it is written."""
        began = self._clock()
        yield
        self._saved_at = self._clock()
        self._save_seconds = self._saved_at - began
