"""How often to save between the ends of passes: so often that little is lost with the process, and
so seldom that no more than a hundredth of the time goes into it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SHARE = 0.01
# Each checkpoint also has to be brought into the store.
LEAST_SECONDS = 10.0


class Cadence:
    """By what the last checkpoint has cost."""

    def __init__(
        self,
        *,
        least_seconds: float = LEAST_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._least = least_seconds
        self._clock = clock
        self._cost = 0.0
        self._saved_at = clock()

    @property
    def is_due(self) -> bool:
        return self._clock() - self._saved_at > max(self._least, self._cost / SHARE)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Around the writing of a checkpoint, for whatever reason it is written."""
        began = self._clock()
        yield
        self._saved_at = self._clock()
        self._cost = self._saved_at - began
