"""Background writer of requests' counts and usage to the database, so that no request waits."""

import threading

from app import logs
from app.db.flush_thread import FlushThread
from app.db.session import DatabaseUnavailable, SessionMaker, transaction
from app.monitoring import report, traffic
from app.monitoring.prometheus import TrafficCounters
from app.monitoring.report import LastDayMetrics
from app.monitoring.traffic import ServedRequest, TrafficBatch
from app.usage import ledger
from app.usage.ledger import UsageByKey, UsageCounts, UsageKey

log = logs.get_logger(__name__)

# A killed process loses at most this much traffic.
FLUSH_INTERVAL_SECONDS = 2.0


class TrafficRecorder:
    """Recorder with a background thread. `record` may be called from any thread and does not block;
    `start` and `stop` are called once each."""

    def __init__(self, sessions: SessionMaker) -> None:
        self.counters = TrafficCounters()
        self._sessions = sessions
        self._pending = TrafficBatch()
        self._pending_usage: UsageByKey = {}
        self._lock = threading.Lock()
        # One batch at a time, so that a failed one is requeued before the next is taken.
        self._flushing = threading.Lock()
        self._thread = FlushThread(
            self._flush_and_refresh, event="recorder", interval_seconds=FLUSH_INTERVAL_SECONDS
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and flush once more."""
        self._thread.stop(self.flush)

    def record(self, request: ServedRequest) -> None:
        with self._lock:
            self._pending.add(request)

    def record_usage(self, key: UsageKey, counts: UsageCounts) -> None:
        with self._lock:
            ledger.merge(self._pending_usage, {key: counts})

    def flush(self) -> None:
        """Write the pending requests. If it raises DatabaseUnavailable, they are requeued."""
        with self._flushing:
            with self._lock:
                batch, self._pending = self._pending, TrafficBatch()
                usage, self._pending_usage = self._pending_usage, {}
            if not batch.counts_by_model and not usage:
                return
            try:
                with transaction(self._sessions) as session:
                    traffic.record_batch(session, batch)
                    ledger.record(session, usage)
            except DatabaseUnavailable:
                with self._lock:
                    self._pending.requeue(batch)
                    ledger.merge(self._pending_usage, usage)
                raise
            self.counters.add(batch)
            if batch.dropped_predictions:
                log.warning("recorder.predictions_dropped", predictions=batch.dropped_predictions)

    def get_last_day_metrics(self, models: list[str]) -> dict[str, LastDayMetrics]:
        """Read models' metrics from the database. Raises DatabaseUnavailable."""
        with transaction(self._sessions) as session:
            return {model: report.get_last_day_metrics(session, model) for model in models}

    def _flush_and_refresh(self) -> None:
        self.flush()
        self.counters.refresh(self.get_last_day_metrics)
