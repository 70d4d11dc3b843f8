"""Brings what requests were like into the database, beside the requests: none waits for it."""

import threading

from app import logs
from app.db.session import DatabaseUnavailable, SessionMaker, transaction
from app.monitoring import report, traffic
from app.monitoring.prometheus import Totals
from app.monitoring.report import Standing
from app.monitoring.traffic import Asked, Traffic

log = logs.get(__name__)

# What a killed process loses at most.
EVERY_SECONDS = 2.0


class Recorder:
    """`note` may be called from any thread and does not wait; `start` and `stop` once each."""

    def __init__(self, sessions: SessionMaker) -> None:
        self.totals = Totals()
        self._sessions = sessions
        self._waiting = Traffic()
        self._lock = threading.Lock()
        # One batch at a time: what one could not bring comes back before the next is taken.
        self._flushing = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Bring what there is, once more."""
        self._stopping.set()
        self._thread.join()
        try:
            self.flush()
        except DatabaseUnavailable as error:
            log.warning("recorder.lost", reason=str(error))

    def note(self, asked: Asked) -> None:
        with self._lock:
            self._waiting.add(asked)

    def flush(self) -> None:
        """Record what waits. Raises DatabaseUnavailable; then it waits for the next time."""
        with self._flushing:
            with self._lock:
                batch, self._waiting = self._waiting, Traffic()
            if not batch.tallies:
                return
            try:
                with transaction(self._sessions) as session:
                    traffic.record(session, batch)
            except DatabaseUnavailable:
                with self._lock:
                    self._waiting.put_back(batch)
                raise
            self.totals.add(batch)
            if batch.dropped:
                log.warning("recorder.dropped", answers=batch.dropped)

    def standings(self, models: list[str]) -> dict[str, Standing]:
        """How models do, by the database. Raises DatabaseUnavailable."""
        with transaction(self._sessions) as session:
            return {model: report.standing(session, model) for model in models}

    def _run(self) -> None:
        while not self._stopping.wait(EVERY_SECONDS):
            try:
                self.flush()
                self.totals.refresh(self.standings)
            except DatabaseUnavailable as error:
                log.warning("recorder.waits", reason=str(error))
            except Exception:
                # A batch is lost, which is better than the thread: nobody would count any more.
                log.exception("recorder.failed")
