"""Lines of the output and error files, and the files themselves."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import orjson

from app import ids
from app.db import clock
from app.db.tables import Batch, File, FilePurpose, FileStatus
from app.files.intake import BATCH_RETENTION_SECONDS
from app.storage import ObjectStore, ObjectWriter, file_key

EXPIRED = {
    "code": "batch_expired",
    "message": "This request could not be executed before the completion window expired.",
}


def build_line(
    batch_id: str, index: int, custom_id: str, *, status: int, request_id: str, body: bytes
) -> bytes:
    """Build the line of a request that was answered, with JSON as `body`."""
    response = {
        "status_code": status,
        "request_id": request_id,
        "body": orjson.Fragment(body),
    }
    return _dump(batch_id, index, custom_id, response, None)


def build_error_line(batch_id: str, index: int, custom_id: str, error: dict[str, str]) -> bytes:
    """Build the line of a request that was not answered."""
    return _dump(batch_id, index, custom_id, None, error)


def _dump(
    batch_id: str, index: int, custom_id: str, response: Any, error: dict[str, str] | None
) -> bytes:
    # The same if the request is made again, so that a line can be recognized.
    digest = hashlib.sha256(f"{batch_id}\n{index}".encode()).hexdigest()
    line = {
        "id": f"batch_req_{digest[:32]}",
        "custom_id": custom_id,
        "response": response,
        "error": error,
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


class ResultFile:
    """A file that is written as a batch is finished; none is stored if nothing is written.

    It is stored when the stack is closed, and discarded if that ends by an exception.
    """

    def __init__(self, store: ObjectStore, stack: ExitStack, project_id: str) -> None:
        self._store = store
        self._stack = stack
        self._project_id = project_id
        self._file_id = ids.file_id()
        self._writer: ObjectWriter | None = None
        self._hash = hashlib.sha256()
        self._bytes = 0

    def write(self, data: bytes) -> None:
        if not data:
            return
        if self._writer is None:
            key = file_key(self._project_id, self._file_id)
            self._writer = self._stack.enter_context(self._store.writer(key))
        self._writer.write(data)
        self._hash.update(data)
        self._bytes += len(data)

    def build_row(self, batch: Batch, name: str) -> File | None:
        """Build the file's row, not yet added to a session; None if nothing was written."""
        if self._writer is None:
            return None
        seconds = batch.output_expires_after_seconds or BATCH_RETENTION_SECONDS
        return File(
            id=self._file_id,
            project_id=self._project_id,
            filename=f"{batch.id}_{name}.jsonl",
            purpose=FilePurpose.BATCH_OUTPUT,
            bytes=self._bytes,
            sha256=self._hash.hexdigest(),
            storage_key=file_key(self._project_id, self._file_id),
            status=FileStatus.PROCESSED,
            expires_at=clock.seconds_from_now(seconds),
        )


def split_part(chunks: Iterator[bytes], split_at: int) -> Iterator[tuple[bool, bytes]]:
    """Split what a range has stored: its first bytes are those of success."""
    position = 0
    for chunk in chunks:
        cut = max(0, min(len(chunk), split_at - position))
        yield True, chunk[:cut]
        yield False, chunk[cut:]
        position += len(chunk)


def join_lines(lines: Sequence[tuple[bool, bytes]]) -> tuple[bytes, int]:
    """Join the lines of a range, those of success first; also return how many bytes these are."""
    successes = b"".join(line for is_success, line in lines if is_success)
    failures = b"".join(line for is_success, line in lines if not is_success)
    return successes + failures, len(successes)
