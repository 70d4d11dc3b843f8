"""Measures how work grows with its input, on a machine that does other work meanwhile.

CPU time of this thread is measured, as the best of several runs without garbage collection. Inputs
are enlarged until a run rises above the noise, and then doubled twice: over two doublings,
quadratic work differs from linear work more than a busy machine does.
"""

import gc
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import isinf, sqrt
from typing import Any

# Twice the input may take this much more work: linear work takes 2, quadratic work 4.
MAX_GROWTH = 2.5
# Below this, a measurement is noise.
MIN_SECONDS = 0.002
REPEATS = 5
# A doubtful measurement is repeated with larger inputs, this often.
RETRIES = 2
# CPU time after which a run is interrupted: work that grows exponentially would never end.
MAX_SECONDS = 0.5

# Builds the work for an input of this size; building is not measured.
Prepare = Callable[[int], Callable[[], object]]


@dataclass(frozen=True, slots=True)
class Growth:
    """Work for an input of `size`, and for one four times as large, in seconds."""

    size: int
    seconds: float
    quadrupled_seconds: float

    @property
    def factor(self) -> float:
        """Growth per doubling. Infinite if a run was interrupted."""
        if isinf(self.quadrupled_seconds):
            return self.quadrupled_seconds
        return sqrt(self.quadrupled_seconds / self.seconds)


class _TooSlow(Exception):
    pass


def measure_growth(prepare: Prepare, *, size: int = 256, max_size: int = 2**20) -> Growth | None:
    """Measure at the first size from `size` on that rises above the noise; None if none does."""
    while size <= max_size:
        seconds = measure(prepare(size))
        if seconds >= MIN_SECONDS:
            # An interrupted run says enough.
            quadrupled = seconds if isinf(seconds) else measure(prepare(4 * size))
            return Growth(size, seconds, quadrupled)
        size *= 2
    return None


def assert_linear(prepare: Prepare, *, size: int = 256, max_size: int = 2**20) -> None:
    """Fail if twice the input takes more than MAX_GROWTH as much work."""
    growth = measure_growth(prepare, size=size, max_size=max_size)
    for _ in range(RETRIES):
        if growth is None or growth.factor < MAX_GROWTH or isinf(growth.factor):
            break
        growth = measure_growth(prepare, size=2 * growth.size, max_size=2 * growth.size)
    assert growth is None or growth.factor < MAX_GROWTH, (
        f"twice the input takes {growth.factor:.1f} times the work: {growth}"
    )


def measure(work: Callable[[], object], *, repeats: int = REPEATS) -> float:
    """Measure the best of several runs, in CPU seconds; infinite if one is interrupted."""
    best = float("inf")
    for _ in range(repeats):
        try:
            with _cpu_limit(MAX_SECONDS):
                gc.disable()
                started = time.thread_time()
                work()
                best = min(best, time.thread_time() - started)
        except _TooSlow:
            break
        finally:
            gc.enable()
        if best > 20 * MIN_SECONDS:
            break  # far above the noise
    return best


@contextmanager
def _cpu_limit(seconds: float) -> Iterator[None]:
    """Interrupt the block after this much CPU time. For the main thread only."""

    def interrupt(_signal: int, _frame: Any) -> None:
        raise _TooSlow

    previous = signal.signal(signal.SIGVTALRM, interrupt)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)
