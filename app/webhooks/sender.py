"""The threads that carry webhooks to their receivers, outside of any transaction."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from app import logs
from app.db.session import DatabaseUnavailable, SessionMaker, transaction
from app.safe_http.client import NoAnswer, Poster
from app.safe_http.ip_policy import Refused
from app.webhooks import attempts, signing
from app.webhooks.attempts import Errand, Outcome

log = logs.get(__name__)

# So many receivers may hang at once before others have to wait for them.
COURIERS = 16
USER_AGENT = "Luthier-Webhooks/1"


class Couriers:
    """Call `send_out` when something may be due; it returns at once."""

    def __init__(self, sessions: SessionMaker, poster: Poster, *, count: int = COURIERS) -> None:
        self._sessions = sessions
        self._poster = poster
        self._free = count
        self._closing = False
        self._claiming = Lock()
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="courier")

    def send_out(self) -> None:
        """Claim an errand for each free courier, and send them. Raises DatabaseUnavailable."""
        # One at a time: two would both count the same courier as free.
        with self._claiming:
            if self._free == 0 or self._closing:
                return
            with transaction(self._sessions) as session:
                claimed = attempts.claim(session, self._free)
            self._free -= len(claimed)
            for errand in claimed:
                self._pool.submit(self._carry, errand)

    def close(self) -> None:
        """Claim nothing more, and return when all have come back."""
        with self._claiming:
            self._closing = True
        self._pool.shutdown()

    def _carry(self, errand: Errand) -> None:
        try:
            outcome = attempt(self._poster, errand)
            with transaction(self._sessions) as session:
                attempts.record(session, errand, outcome)
        except DatabaseUnavailable as error:
            # Whoever finds it due after its next delay posts it again.
            log.warning("webhook.not_recorded", delivery=errand.delivery_id, reason=str(error))
        except Exception:
            log.exception("webhook.failed", delivery=errand.delivery_id)
        finally:
            with self._claiming:
                self._free += 1
        self._go_on()

    def _go_on(self) -> None:
        try:
            self.send_out()
        except DatabaseUnavailable as error:
            log.warning("webhook.database_unavailable", reason=str(error))


def attempt(poster: Poster, errand: Errand) -> Outcome:
    """Post an event, signed for this moment. Takes as long as the poster lets it."""
    signed = signing.headers(errand.keys, errand.event_id, int(time.time()), errand.body)
    headers = {"content-type": "application/json", "user-agent": USER_AGENT, **signed}
    started = time.monotonic()
    status, error = None, None
    try:
        status = poster.post(errand.url, errand.body.encode(), headers)
    except (NoAnswer, Refused) as trouble:
        error = str(trouble)
    took = round((time.monotonic() - started) * 1000)
    log.info(
        "webhook.attempt",
        delivery=errand.delivery_id,
        endpoint=errand.endpoint_id,
        number=errand.number,
        status=status,
        error=error,
        ms=took,
    )
    return Outcome(milliseconds=took, status=status, error=error)
