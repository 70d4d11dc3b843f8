"""Polling until a condition is met, with a timeout that suits slow machines."""

import time
from collections.abc import Callable

# Only reached by failing tests.
TIMEOUT_SECONDS = 240


def wait_until(
    condition: str, is_met: Callable[[], object], *, seconds: float = TIMEOUT_SECONDS
) -> None:
    """Poll `is_met()` until it is true. Fails with `condition` in the message after `seconds`."""
    deadline = time.monotonic() + seconds
    pause = 0.005
    while not is_met():
        assert time.monotonic() < deadline, f"after {seconds} s still not: {condition}"
        time.sleep(pause)
        pause = min(0.3, 1.5 * pause)
