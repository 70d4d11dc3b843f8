"""The heartbeat of one attempt: keeps its lease and hears what the database wants of it."""

import random
import threading
import time
from types import TracebackType
from typing import Self

from app import logs
from app.db.session import DatabaseUnavailable, SessionMaker, transaction
from app.jobs import leases
from app.jobs.leases import Claim, Order
from app.settings import Settings

log = logs.get(__name__)

# Between two heartbeats orders are read this often, which costs one look at one row.
LOOK_SECONDS = 2.0


class Pulse:
    """Beats in a thread of its own while the `with` block runs, whatever the block waits for.

    `order` is the newest known order. While the database cannot be reached it stays as it was:
    nobody else can claim the job then either. No error ends the beating, which goes on until the
    attempt is over.
    """

    def __init__(self, claim: Claim, sessions: SessionMaker, settings: Settings) -> None:
        self.order = Order.GO_ON
        self.step = 0
        self._claim = claim
        self._sessions = sessions
        self._settings = settings
        self._beat_at = time.monotonic() + settings.heartbeat_seconds
        self._heard_at = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"pulse-{claim.job_id}")

    @property
    def is_over(self) -> bool:
        """Nothing of this attempt counts any more."""
        return self.order in (Order.CANCEL, Order.FENCED)

    @property
    def silent_seconds(self) -> float:
        """For how long the database has not answered."""
        return time.monotonic() - self._heard_at

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
        pause = min(LOOK_SECONDS, self._settings.heartbeat_seconds)
        # Spread, so that the workers of a machine that starts do not all ask at once.
        while not self.is_over and not self._done.wait(pause * random.uniform(0.8, 1.2)):
            try:
                self.order = self._ask()
                self._heard_at = time.monotonic()
            except DatabaseUnavailable as error:
                log.warning("pulse.database_unavailable", job=self._claim.job_id, reason=str(error))
            except Exception:
                # Without this thread the lease would run out and no order would be heard any more.
                log.exception("pulse.broken", job=self._claim.job_id)

    def _ask(self) -> Order:
        job_id, epoch = self._claim.job_id, self._claim.epoch
        with transaction(self._sessions) as session:
            if time.monotonic() < self._beat_at:
                return leases.order(session, job_id, epoch)
            order = leases.heartbeat(
                session,
                job_id,
                epoch,
                step=self.step,
                lease_seconds=self._settings.lease_seconds,
            )
        self._beat_at = time.monotonic() + self._settings.heartbeat_seconds
        return order
