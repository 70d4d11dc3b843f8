"""Thread pool that posts webhook deliveries to their receivers, outside any transaction."""

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

# Threads that only wait for receivers. Eight projects at their limits (attempts.py) fill them.
MAX_CONCURRENT_DELIVERIES = 32
USER_AGENT = "Luthier-Webhooks/1"


class WebhookSender:
    """Sender of due deliveries. Call `dispatch_due` when one may be due; it returns at once."""

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
        self._pool = ThreadPoolExecutor(max_concurrent, thread_name_prefix="webhook-sender")

    def dispatch_due(self) -> None:
        """Claim a due delivery for each free thread, and send them. Raises DatabaseUnavailable."""
        # One caller at a time, or two would count the same thread as free.
        with self._claim_lock:
            if self._free_threads == 0 or self._is_closing:
                return
            with transaction(self._sessions) as session:
                claimed = attempts.claim_due(session, self._free_threads)
            self._free_threads -= len(claimed)
            for attempt in claimed:
                self._pool.submit(self._deliver, attempt)

    def close(self) -> None:
        """Stop claiming, and wait until all deliveries in flight have ended."""
        with self._claim_lock:
            self._is_closing = True
        self._pool.shutdown()

    def _deliver(self, attempt: DeliveryAttempt) -> None:
        try:
            result = post_event(self._client, attempt)
            with transaction(self._sessions) as session:
                attempts.record_result(session, attempt, result)
        except DatabaseUnavailable as error:
            # The claim expires, and the event is posted again after the backoff.
            log.warning(
                "webhook.result_not_recorded", delivery=attempt.delivery_id, reason=str(error)
            )
        except Exception:
            log.exception("webhook.failed", delivery=attempt.delivery_id)
        finally:
            with self._claim_lock:
                self._free_threads += 1
        self._dispatch_next()

    def _dispatch_next(self) -> None:
        try:
            self.dispatch_due()
        except DatabaseUnavailable as error:
            log.warning("webhook.database_unavailable", reason=str(error))


def post_event(client: SafeHttpClient, attempt: DeliveryAttempt) -> AttemptResult:
    """Sign an event with the current time and post it; blocks up to the client's timeout."""
    signature = signing.build_signature_headers(
        attempt.signing_keys, attempt.event_id, int(time.time()), attempt.body
    )
    headers = {"content-type": "application/json", "user-agent": USER_AGENT, **signature}
    started = time.monotonic()
    status, error = None, None
    try:
        status = client.post(attempt.url, attempt.body.encode(), headers)
    except (NoResponse, DestinationNotAllowed) as failure:
        error = str(failure)
    milliseconds = round((time.monotonic() - started) * 1000)
    log.info(
        "webhook.attempt",
        delivery=attempt.delivery_id,
        endpoint=attempt.endpoint_id,
        number=attempt.number,
        status=status,
        error=error,
        ms=milliseconds,
    )
    return AttemptResult(milliseconds=milliseconds, status=status, error=error)
