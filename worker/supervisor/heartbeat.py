"""The heartbeat of one attempt: keeps its lease and hears what the database wants of it."""

import random
import threading
import time
from types import TracebackType
from typing import Self

from app import logs
from app.db.session import DatabaseUnavailable, SessionMaker, transaction
from app.jobs import leases
from app.jobs.leases import JobAssignment, WorkerDirective
from app.settings import Settings

log = logs.get_logger(__name__)

# Between two heartbeats orders are read this often, which costs one look at one row.
DIRECTIVE_POLL_INTERVAL_SECONDS = 2.0


class Heartbeat:
    """Beats in a thread of its own while the `with` block runs, whatever the block waits for.

    `order` is the newest known order. While the database cannot be reached it stays as it was:
    nobody else can claim the job then either. No error ends the beating, which goes on until the
    attempt is over.
    """

    def __init__(self, claim: JobAssignment, sessions: SessionMaker, settings: Settings) -> None:
        self.directive = WorkerDirective.CONTINUE
        self.step = 0
        self._assignment = claim
        self._sessions = sessions
        self._settings = settings
        self._next_heartbeat_at = time.monotonic() + settings.heartbeat_seconds
        self._last_contact_at = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"pulse-{claim.job_id}")

    @property
    def is_attempt_over(self) -> bool:
        """Nothing of this attempt counts any more."""
        return self.directive in (WorkerDirective.CANCEL, WorkerDirective.LEASE_LOST)

    @property
    def seconds_since_contact(self) -> float:
        """For how long the database has not answered."""
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
        pause = min(DIRECTIVE_POLL_INTERVAL_SECONDS, self._settings.heartbeat_seconds)
        # Spread, so that the workers of a machine that starts do not all ask at once.
        while not self.is_attempt_over and not self._done.wait(pause * random.uniform(0.8, 1.2)):
            try:
                self.directive = self._beat()
                self._last_contact_at = time.monotonic()
            except DatabaseUnavailable as error:
                log.warning(
                    "pulse.database_unavailable", job=self._assignment.job_id, reason=str(error)
                )
            except Exception:
                # Without this thread the lease would run out and no order would be heard any more.
                log.exception("pulse.broken", job=self._assignment.job_id)

    def _beat(self) -> WorkerDirective:
        job_id, epoch = self._assignment.job_id, self._assignment.attempt
        with transaction(self._sessions) as session:
            if time.monotonic() < self._next_heartbeat_at:
                return leases.get_directive(session, job_id, epoch)
            order = leases.heartbeat(
                session,
                job_id,
                epoch,
                step=self.step,
                lease_seconds=self._settings.lease_seconds,
            )
        self._next_heartbeat_at = time.monotonic() + self._settings.heartbeat_seconds
        return order
