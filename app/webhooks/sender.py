"""The threads that carry webhooks to their receivers, outside of any transaction."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from app import logs
from app.db.session import DatabaseUnavailable, SessionMaker, transaction
from app.safe_http.client import NoResponse, SafeHttpClient
from app.safe_http.ip_policy import DestinationNotAllowed
from app.webhooks import attempts, signing
from app.webhooks.attempts import AttemptResult, DeliveryAttempt

log = logs.get_logger(__name__)

# So many receivers may hang at once before others have to wait for them.
MAX_CONCURRENT_DELIVERIES = 16
USER_AGENT = "Luthier-Webhooks/1"


class WebhookSender:
    """Call `send_out` when something may be due; it returns at once."""

    def __init__(
        self,
        sessions: SessionMaker,
        client: SafeHttpClient,
        *,
        max_concurrent: int = MAX_CONCURRENT_DELIVERIES,
    ) -> None:
        self._sessions = sessions
        self._client = client
        self._free_threads = max_concurrent
        self._is_closing = False
        self._claim_lock = Lock()
        self._pool = ThreadPoolExecutor(max_concurrent, thread_name_prefix="courier")

    def dispatch_due(self) -> None:
        """Claim an errand for each free courier, and send them. Raises DatabaseUnavailable."""
        # One at a time: two would both count the same courier as free.
        with self._claim_lock:
            if self._free_threads == 0 or self._is_closing:
                return
            with transaction(self._sessions) as session:
                claimed = attempts.claim_due(session, self._free_threads)
            self._free_threads -= len(claimed)
            for errand in claimed:
                self._pool.submit(self._deliver, errand)

    def close(self) -> None:
        """Claim nothing more, and return when all have come back."""
        with self._claim_lock:
            self._is_closing = True
        self._pool.shutdown()

    def _deliver(self, errand: DeliveryAttempt) -> None:
        try:
            outcome = post_event(self._client, errand)
            with transaction(self._sessions) as session:
                attempts.record_result(session, errand, outcome)
        except DatabaseUnavailable as error:
            # Whoever finds it due after its next delay posts it again.
            log.warning("webhook.not_recorded", delivery=errand.delivery_id, reason=str(error))
        except Exception:
            log.exception("webhook.failed", delivery=errand.delivery_id)
        finally:
            with self._claim_lock:
                self._free_threads += 1
        self._dispatch_next()

    def _dispatch_next(self) -> None:
        try:
            self.dispatch_due()
        except DatabaseUnavailable as error:
            log.warning("webhook.database_unavailable", reason=str(error))


def post_event(poster: SafeHttpClient, errand: DeliveryAttempt) -> AttemptResult:
    """Post an event, signed for this moment. Takes as long as the poster lets it."""
    signed = signing.signature_headers(
        errand.signing_keys, errand.event_id, int(time.time()), errand.body
    )
    headers = {"content-type": "application/json", "user-agent": USER_AGENT, **signed}
    started = time.monotonic()
    status, error = None, None
    try:
        status = poster.post(errand.url, errand.body.encode(), headers)
    except (NoResponse, DestinationNotAllowed) as trouble:
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
    return AttemptResult(milliseconds=took, status=status, error=error)
