"""Circuit breaker: a trainer on which different jobs crash in a row stops taking jobs."""

import threading
import time

from app import logs
from app.db.tables import AttemptOutcome
from worker.run_folder import ExitCode

log = logs.get_logger(__name__)

# One job that crashes repeatedly is the cause itself; with this many, the trainer is.
MAX_CRASHED_JOBS = 3
# Exit codes caused by the job itself, on any machine.
JOB_FAULT_EXITS = (
    ExitCode.USER_ERROR,
    ExitCode.OUT_OF_DEVICE_MEMORY,
    ExitCode.LOSS_NOT_FINITE,
    ExitCode.DIVERGED,
)


class CircuitBreaker:
    """Records the outcome of each attempt. Thread-safe.

    After three different jobs crashed without a success in between, it is open: the trainer takes
    no job for `cooldown_seconds`, rather than use up the attempts of all queued jobs. Then the
    trainer tries again, and one more crash opens it again. Running attempts are not affected.
    """

    def __init__(self, *, cooldown_seconds: float) -> None:
        self._cooldown_seconds = cooldown_seconds
        self._crashed_jobs: set[str] = set()
        self._open_until = 0.0
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        return time.monotonic() < self._open_until

    def record(self, job_id: str, outcome: AttemptOutcome, exit_code: int | None) -> None:
        """Record the outcome of an attempt. Most outcomes do not depend on the trainer."""
        with self._lock:
            if outcome is AttemptOutcome.DONE:
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
            reason="Different jobs crashed on this trainer in a row; it takes no jobs for now.",
            jobs=sorted(self._crashed_jobs),
            seconds=self._cooldown_seconds,
        )


def _is_crash(outcome: AttemptOutcome, exit_code: int | None) -> bool:
    if exit_code in JOB_FAULT_EXITS:
        return False
    # At its last attempt a job that crashes fails, with an exit code.
    return outcome is AttemptOutcome.CRASHED or (
        outcome is AttemptOutcome.FAILED and exit_code is not None
    )
