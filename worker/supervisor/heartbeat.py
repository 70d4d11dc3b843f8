"""Heartbeat of one attempt: renews its lease and reads the directive for it."""

import random
import threading
import time
from types import TracebackType
from typing import Self

from app import logs
from app.db.session import DatabaseUnavailable, SessionMaker, transaction
from app.jobs import leases
from app.jobs.leases import JobAssignment, TrainerDirective
from app.settings import Settings

log = logs.get_logger(__name__)

# Interval at which the directive is read between two heartbeats: a lookup of one row.
DIRECTIVE_POLL_INTERVAL_SECONDS = 2.0


class Heartbeat:
    """Sends heartbeats from its own thread while the `with` block runs.

    `directive` is the latest one known. While the database is unavailable it does not change: no
    other trainer can acquire the job during that time. No error ends the thread before the attempt
    is over.
    """

    def __init__(
        self, assignment: JobAssignment, sessions: SessionMaker, settings: Settings
    ) -> None:
        self.directive = TrainerDirective.CONTINUE
        self.step = 0
        self._assignment = assignment
        self._sessions = sessions
        self._settings = settings
        self._next_heartbeat_at = time.monotonic() + settings.heartbeat_interval_seconds
        self._last_contact_at = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"heartbeat-{assignment.job_id}")

    @property
    def is_attempt_over(self) -> bool:
        """True if the job was cancelled or the lease lost."""
        return self.directive in (TrainerDirective.CANCEL, TrainerDirective.LEASE_LOST)

    @property
    def seconds_since_contact(self) -> float:
        """Seconds since the database last responded."""
        return time.monotonic() - self._last_contact_at

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        interval = min(DIRECTIVE_POLL_INTERVAL_SECONDS, self._settings.heartbeat_interval_seconds)
        # Jitter, so that the trainers of a starting machine do not query at the same moment.
        while not self.is_attempt_over and not self._done.wait(interval * random.uniform(0.8, 1.2)):
            try:
                self.directive = self._beat()
                self._last_contact_at = time.monotonic()
            except DatabaseUnavailable as error:
                log.warning(
                    "heartbeat.database_unavailable", job=self._assignment.job_id, reason=str(error)
                )
            except Exception:
                # Without this thread the lease would expire and no directive would arrive.
                log.exception("heartbeat.error", job=self._assignment.job_id)

    def _beat(self) -> TrainerDirective:
        job_id, attempt = self._assignment.job_id, self._assignment.attempt
        with transaction(self._sessions) as session:
            if time.monotonic() < self._next_heartbeat_at:
                return leases.get_directive(session, job_id, attempt)
            directive = leases.heartbeat(
                session,
                job_id,
                attempt,
                step=self.step,
                lease_seconds=self._settings.lease_seconds,
            )
        self._next_heartbeat_at = time.monotonic() + self._settings.heartbeat_interval_seconds
        return directive
