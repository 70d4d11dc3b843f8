"""Tails the events of a run folder and relays them to the database."""

import time
from collections.abc import Sequence

from app import logs
from app.db.session import DatabaseUnavailable, SessionMaker, transaction
from app.db.tables import EventLevel
from app.jobs import engine_comparison, progress, test_answers
from app.jobs.events import NewEvent
from app.jobs.leases import JobAssignment
from app.jobs.progress import StepMetrics
from app.jobs.test_answers import StoredAnswer
from worker.run_folder import (
    CheckpointWritten,
    ComparisonBegan,
    EngineCompared,
    Evaluated,
    EvaluatedModel,
    Event,
    Failed,
    Metrics,
    Noted,
    RunFolder,
    Started,
    TestAnswer,
)
from worker.supervisor.checkpoint_uploads import CheckpointUploader

log = logs.get_logger(__name__)

# Minimum time between two transactions: a training step may take milliseconds.
RELAY_INTERVAL_SECONDS = 1.0
RETRY_INTERVAL_SECONDS = 2.0
# The job's row is wide; its time estimate is updated at most this often.
ESTIMATE_INTERVAL_SECONDS = 5.0
# Answers that one attempt may store, and their length: the process that writes them is not trusted.
MAX_ANSWERS = 2_000
MAX_ANSWER_LENGTH = 2**16
MAX_ORIGIN_LENGTH = 64


class EventRelay:
    """Relays new events. While the database is unavailable they are queued here; none is lost."""

    def __init__(
        self,
        assignment: JobAssignment,
        folder: RunFolder,
        sessions: SessionMaker,
        uploader: CheckpointUploader,
    ) -> None:
        self.started: Started | None = None
        self.failed: Failed | None = None
        self.evaluated: Evaluated | None = None
        self.engine_compared: EngineCompared | None = None
        # True while the model, whose last checkpoint is written, is compared with the engine.
        self.is_comparing = False
        self.step = 0
        # True once this attempt has made a step, or answered a row of the test file.
        self.has_trained = False
        self._assignment = assignment
        self._folder = folder
        self._sessions = sessions
        self._uploader = uploader
        self._offset = 0
        self._pending: list[Event] = []
        self._num_answers = 0
        self._next_relay_at = 0.0
        self._retry_at = 0.0
        self._next_estimate_at = 0.0

    def relay(self, *, force: bool = False) -> bool:
        """Relay new events if the interval has passed; return True if none is left.

        Raises LeaseLost.
        """
        self._read_new_events()
        if not self._pending:
            return True
        now = time.monotonic()
        if now < self._retry_at or (now < self._next_relay_at and not force):
            return False
        self._next_relay_at = now + RELAY_INTERVAL_SECONDS
        try:
            self._record(self._pending)
        except DatabaseUnavailable as error:
            log.warning("event_relay.waiting", job=self._assignment.job_id, reason=str(error))
            self._retry_at = time.monotonic() + RETRY_INTERVAL_SECONDS
            return False
        # After the metrics, so that a job's events are in order.
        for event in self._pending:
            if isinstance(event, CheckpointWritten):
                self._uploader.enqueue(event)
        self._pending = []
        return True

    def _read_new_events(self) -> None:
        for event, offset in self._folder.read_events(self._offset):
            self._offset = offset
            self._pending.append(event)
            match event:
                case Started():
                    self.started = event
                    self.step = event.from_step
                case Metrics():
                    if not self.has_trained:
                        # The first step is what its owner waits for.
                        self._next_relay_at = 0.0
                    self.step = event.step
                    self.has_trained = True
                case CheckpointWritten():
                    # Its upload begins at once: at the end, the job's success waits for it.
                    self._next_relay_at = 0.0
                case Failed():
                    self.failed = event
                case TestAnswer():
                    self.has_trained = True
                    self._num_answers += 1
                    if self._num_answers > MAX_ANSWERS:
                        self._pending.pop()
                case Evaluated():
                    self.evaluated = event
                case ComparisonBegan():
                    self.is_comparing = True
                    # Stored at once: if the trainer dies with the process, this says in what.
                    self._next_relay_at = 0.0
                case EngineCompared():
                    self.engine_compared = event
                    self.is_comparing = False

    def _record(self, events: Sequence[Event]) -> None:
        job_id, attempt = self._assignment.job_id, self._assignment.attempt
        metrics = [event for event in events if isinstance(event, Metrics)]
        answers = self._collect_answers(events)
        with transaction(self._sessions) as session:
            for event in events:
                if isinstance(event, Started):
                    progress.record_started(
                        session,
                        job_id,
                        attempt,
                        hyperparameters=event.hyperparameters,
                        total_steps=event.total_steps,
                        data_warnings=event.data_warnings,
                        drift_baseline=event.drift_baseline,
                        has_other_data=event.has_other_data,
                    )
                if isinstance(event, Noted):
                    progress.add_event(session, job_id, attempt, build_note(event))
                if isinstance(event, ComparisonBegan):
                    began = engine_comparison.build_began_event(attempt)
                    progress.add_event(session, job_id, attempt, began)
            if answers:
                test_answers.record(session, job_id, attempt, answers)
            if metrics:
                steps = [
                    StepMetrics(
                        m.step,
                        m.values,
                        m.tokens / max(m.seconds, 1e-3),
                        self._estimate_seconds_left(m),
                    )
                    for m in metrics
                ]
                seconds_left = self._take_estimate(metrics[-1])
                progress.record_metrics(session, job_id, attempt, steps, seconds_left=seconds_left)

    def _collect_answers(self, events: Sequence[Event]) -> list[StoredAnswer]:
        if self._assignment.test_file is None:
            return []
        return [
            StoredAnswer(
                event.model,
                event.row,
                event.origin[:MAX_ORIGIN_LENGTH],
                event.text[:MAX_ANSWER_LENGTH],
            )
            for event in events
            if isinstance(event, TestAnswer) and event.model in tuple(EvaluatedModel)
        ]

    def _take_estimate(self, latest: Metrics) -> float | None:
        """Estimate the seconds left; None if the last estimate is recent."""
        if time.monotonic() < self._next_estimate_at:
            return None
        self._next_estimate_at = time.monotonic() + ESTIMATE_INTERVAL_SECONDS
        return self._estimate_seconds_left(latest)

    def _estimate_seconds_left(self, latest: Metrics) -> float | None:
        """Estimate by the mean time of this attempt's steps."""
        if self.started is None:
            return None
        steps_done = latest.step - self.started.from_step
        return latest.seconds / max(steps_done, 1) * (self.started.total_steps - latest.step)


def build_note(note: Noted) -> NewEvent:
    """Make the job's event of a note; its key tells clients which one it is."""
    level = EventLevel.WARN if note.is_warning else EventLevel.INFO
    return NewEvent(note.key, note.message, level=level, data={"note": note.key})
