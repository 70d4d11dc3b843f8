"""Whether this trainer is good for jobs, or a lemon that kills one after the other."""

import threading
import time

from app import logs
from worker.rundir import ExitCode

log = logs.get_logger(__name__)

# One job that crashes again and again is to blame itself; so many different ones are not.
MAX_CRASHED_JOBS = 3
# Ends that a job brings upon itself, wherever it is tried.
JOB_FAULT_EXITS = (ExitCode.USER_ERROR, ExitCode.OUT_OF_DEVICE_MEMORY, ExitCode.LOSS_NOT_FINITE)


class CircuitBreaker:
    """Told how each attempt ended. Safe between threads.

    A trainer on which three different jobs crashed, with no success in between, takes no job for
    `rest_seconds`: it would use up the attempts of all that wait. Then it tries again, and one more
    crash sends it back to rest. What it has at work meanwhile goes on.
    """

    def __init__(self, *, cooldown_seconds: float) -> None:
        self._cooldown_seconds = cooldown_seconds
        self._crashed_jobs: set[str] = set()
        self._open_until = 0.0
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        return time.monotonic() < self._open_until

    def record(self, job_id: str, outcome: str, exit_code: int | None) -> None:
        """An attempt at a job has ended so. Most ends say nothing of the trainer."""
        with self._lock:
            if outcome == "done":
                self._crashed_jobs.clear()
            elif _is_crash(outcome, exit_code):
                self._crashed_jobs.add(job_id)
                self._open_if_tripped()

    def _open_if_tripped(self) -> None:
        if len(self._crashed_jobs) < MAX_CRASHED_JOBS:
            return
        self._open_until = time.monotonic() + self._cooldown_seconds
        log.error(
            "trainer.unhealthy",
            reason="Different jobs crashed here one after the other: no more are taken for now.",
            jobs=sorted(self._crashed_jobs),
            seconds=self._cooldown_seconds,
        )


def _is_crash(outcome: str, exit_code: int | None) -> bool:
    if exit_code in JOB_FAULT_EXITS:
        return False
    # A job has failed, with an exit code, that crashed for the third time.
    return outcome == "crashed" or (outcome == "failed" and exit_code is not None)
