"""Interleaved rounds of benchmark arms, and their results as JSON lines."""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path


def measure(arms: dict[str, Callable[[], dict[str, float]]], size: int, rounds: int) -> None:
    """Run the arms interleaved; print each run, and each arm's median and relative spread.

    `size` is the bytes that a run processes. The first round is a warm-up and is not reported.
    An arm returns further values for its line.
    """
    rates: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds + 1):
        for name, arm in arms.items():
            started = time.perf_counter()
            extra = arm()
            rate = size / (time.perf_counter() - started) / 1e6
            if number:
                rates[name].append(rate)
                print_result(arm=name, round=number, mb_per_second=round(rate, 1), **extra)
    for name, measured in rates.items():
        median = statistics.median(measured)
        spread = (max(measured) - min(measured)) / median
        print_result(arm=name, median_mb_per_second=round(median, 1), spread=round(spread, 3))


def print_result(**line: object) -> None:
    print(json.dumps(line), flush=True)


def repeat_rows(path: Path, size: int) -> bytes:
    """The rows of a file, repeated to at most `size` bytes, but at least once."""
    data = path.read_bytes()
    if not data.endswith(b"\n"):
        data += b"\n"
    return data * max(1, size // len(data))
