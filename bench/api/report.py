"""What the arms share: rows to work on, rounds in turn, and one JSON line for each result."""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path


def measure(arms: dict[str, Callable[[], dict[str, float]]], size: int, rounds: int) -> None:
    """Run the arms in turn; a line for each run, and one for each arm's median and spread."""
    rates: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds + 1):
        for name, arm in arms.items():
            started = time.perf_counter()
            more = arm()
            rate = size / (time.perf_counter() - started) / 1e6
            if number:
                rates[name].append(rate)
                say(arm=name, round=number, mb_per_second=round(rate, 1), **more)
    for name, found in rates.items():
        middle = statistics.median(found)
        spread = (max(found) - min(found)) / middle
        say(arm=name, median_mb_per_second=round(middle, 1), spread=round(spread, 3))


def say(**line: object) -> None:
    print(json.dumps(line), flush=True)


def rows(path: Path, size: int) -> bytes:
    """The rows of a file, repeated to about so many bytes."""
    data = path.read_bytes()
    if not data.endswith(b"\n"):
        data += b"\n"
    return data * max(1, size // len(data))
