"""Background writer of chat completions that are to be stored, so that no answer waits for it.

An answer is queued before its client has its last byte, and written within half a second. A normal
stop writes what is queued; a killed process loses it, at most the last half second, or while the
database is away MAX_PENDING_BYTES, beyond which no more requests to store are accepted.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy.exc import DataError, IntegrityError

from app import logs
from app.db.flush_thread import FlushThread
from app.db.session import DatabaseUnavailable, SessionMaker, transaction
from app.errors import ServiceUnavailable
from app.stored_completions import service
from app.stored_completions.answers import DONE, parse_answer

log = logs.get_logger(__name__)

FLUSH_INTERVAL_SECONDS = 0.5
MAX_PENDING_BYTES = 64 * 2**20
# Written in one transaction.
MAX_BATCH_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class PendingCompletion:
    """An answer, as the client gets it, with its request."""

    project_id: str
    request: bytes
    metadata: Mapping[str, str]
    answer: bytes
    is_stream: bool

    @property
    def size(self) -> int:
        return len(self.request) + len(self.answer)


class CompletionRecorder:
    """Recorder with a background thread; `start` and `stop` are called once each."""

    def __init__(self, sessions: SessionMaker) -> None:
        self._sessions = sessions
        self._pending: list[PendingCompletion] = []
        self._pending_bytes = 0
        self._lock = threading.Lock()
        # One batch at a time, so that a failed one is put back before the next is taken.
        self._flushing = threading.Lock()
        self._thread = FlushThread(
            self.flush,
            event="stored_completions",
            interval_seconds=FLUSH_INTERVAL_SECONDS,
            describe_pending=lambda: {"completions": len(self._pending)},
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and write what is queued."""
        self._thread.stop(self.flush)

    def check_room(self) -> None:
        """Raise ServiceUnavailable while the database does not take what is queued."""
        if self._pending_bytes > MAX_PENDING_BYTES:
            raise ServiceUnavailable(
                "Answers cannot be stored at the moment. Retry later, or send the request without "
                "'store'."
            )

    def record(self, completion: PendingCompletion) -> None:
        """Queue an answer. May be called from any thread, and does not block."""
        with self._lock:
            self._pending.append(completion)
            self._pending_bytes += completion.size

    def flush(self) -> None:
        """Write what is queued. If it raises DatabaseUnavailable, what was not written stays."""
        with self._flushing:
            while batch := self._take_batch():
                try:
                    self._write(batch)
                except DatabaseUnavailable:
                    self._put_back(batch)
                    raise

    def _take_batch(self) -> list[PendingCompletion]:
        with self._lock:
            size, count = 0, 0
            while count < len(self._pending) and (count == 0 or size < MAX_BATCH_BYTES):
                size += self._pending[count].size
                count += 1
            batch, self._pending = self._pending[:count], self._pending[count:]
            self._pending_bytes -= size
            return batch

    def _put_back(self, batch: list[PendingCompletion]) -> None:
        with self._lock:
            self._pending = batch + self._pending
            self._pending_bytes += sum(completion.size for completion in batch)

    def _write(self, batch: list[PendingCompletion]) -> None:
        answers = [(each, parse_answer(each.answer, is_stream=each.is_stream)) for each in batch]
        with transaction(self._sessions) as session:
            for completion, answer in answers:
                if answer is None:
                    # An error within a stream, which is no answer.
                    continue
                try:
                    with session.begin_nested():
                        service.save(
                            session,
                            completion.project_id,
                            request=completion.request,
                            response=orjson.dumps(answer),
                            answer=answer,
                            metadata=completion.metadata,
                        )
                except (IntegrityError, DataError) as error:
                    # A project that is gone, or a NUL from an engine: only this answer is lost.
                    kind = type(error).__name__
                    log.error(
                        "stored_completions.refused", project=completion.project_id, kind=kind
                    )


@dataclass(slots=True)
class CompletionCapture:
    """One answer on its way to the client, which is recorded once it is whole."""

    recorder: CompletionRecorder
    project_id: str
    request: bytes
    metadata: Mapping[str, str]
    _chunks: list[bytes] = field(default_factory=list)

    def add(self, chunk: bytes, *, is_stream: bool) -> None:
        """Add a part of a successful response, before it is sent to the client."""
        self._chunks.append(chunk)
        # The SDKs read no further, and may ask for the stored completion at once.
        if not is_stream or b"".join(self._chunks[-2:]).rstrip().endswith(DONE):
            self._record(is_stream=is_stream)

    def _record(self, *, is_stream: bool) -> None:
        answer = b"".join(self._chunks)
        self._chunks.clear()
        if answer:
            self.recorder.record(
                PendingCompletion(self.project_id, self.request, self.metadata, answer, is_stream)
            )


def make_capture(
    recorder: CompletionRecorder,
    project_id: str,
    request: Mapping[str, Any],
    metadata: Mapping[str, str] | None,
) -> CompletionCapture:
    """Make the capture of the answer to `request`, the engine's body."""
    return CompletionCapture(recorder, project_id, orjson.dumps(request), metadata or {})
