"""Whether this trainer is good for jobs, or a lemon that kills one after the other."""

import threading
import time

from app import logs
from worker.rundir import Exit

log = logs.get(__name__)

# One job that crashes again and again is to blame itself; so many different ones are not.
MOST_CRASHED = 3
# Ends that a job brings upon itself, wherever it is tried.
OWN_FAULT = (Exit.USER_ERROR, Exit.OUT_OF_DEVICE_MEMORY, Exit.LOSS_NOT_FINITE)


class Fitness:
    """Told how each attempt ended. Safe between threads.

    A trainer on which three different jobs crashed, with no success in between, takes no job for
    `rest_seconds`: it would use up the attempts of all that wait. Then it tries again, and one more
    crash sends it back to rest. What it has at work meanwhile goes on.
    """

    def __init__(self, *, rest_seconds: float) -> None:
        self._rest_seconds = rest_seconds
        self._crashed: set[str] = set()
        self._rests_until = 0.0
        self._lock = threading.Lock()

    @property
    def is_resting(self) -> bool:
        return time.monotonic() < self._rests_until

    def note(self, job_id: str, outcome: str, exit_code: int | None) -> None:
        """An attempt at a job has ended so. Most ends say nothing of the trainer."""
        with self._lock:
            if outcome == "done":
                self._crashed.clear()
            elif _is_crash(outcome, exit_code):
                self._crashed.add(job_id)
                self._judge()

    def _judge(self) -> None:
        if len(self._crashed) < MOST_CRASHED:
            return
        self._rests_until = time.monotonic() + self._rest_seconds
        log.error(
            "trainer.unhealthy",
            reason="Different jobs crashed here one after the other: no more are taken for now.",
            jobs=sorted(self._crashed),
            seconds=self._rest_seconds,
        )


def _is_crash(outcome: str, exit_code: int | None) -> bool:
    if exit_code in OWN_FAULT:
        return False
    # A job has failed, with an exit code, that crashed for the third time.
    return outcome == "crashed" or (outcome == "failed" and exit_code is not None)
