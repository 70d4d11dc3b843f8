"""How tests wait: for what they assert, so long that no machine is too slow for it."""

import time
from collections.abc import Callable

# Never waited for by a test that passes.
SECONDS = 240


def wait_until(question: str, holds: Callable[[], object], *, seconds: float = SECONDS) -> None:
    """Ask `holds()` until it is true; fail with `question` after so many seconds."""
    deadline = time.monotonic() + seconds
    pause = 0.005
    while not holds():
        assert time.monotonic() < deadline, f"after {seconds} s still not: {question}"
        time.sleep(pause)
        pause = min(0.3, 1.5 * pause)
