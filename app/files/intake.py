"""Intake of one file: stream it into the store, hash and validate it, build its row.

A thread is held only while there is something to do, never while a client sends or a validator
works.
"""

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any

import anyio
from sqlalchemy import func

from app import ids
from app.db.tables import File, FilePurpose, FileStatus
from app.errors import InvalidRequest, PayloadTooLarge
from app.files.validation import FileValidation, validate_file
from app.formats import ValidationReport
from app.http.dependencies import AppState
from app.http.fair_limiter import FairLimiter
from app.storage import ObjectWriter, file_key

# Batch files expire after 30 days unless the client sets an expiry; all others never expire.
BATCH_RETENTION_SECONDS = 30 * 24 * 3600
MAX_BATCH_FILE_BYTES = 200 * 2**20
JSONL_PURPOSES = (FilePurpose.FINE_TUNE, FilePurpose.BATCH)

# Called with the bytes received so far; raises an ApiError if there is no room for them.
CheckRoom = Callable[[int], None]


class IncomingFile:
    """A file on its way into the store: counted, hashed and validated as it is written."""

    def __init__(
        self,
        blob: ObjectWriter,
        *,
        project_id: str,
        file_id: str,
        key: str,
        max_bytes: int,
        check_room: CheckRoom,
        threads: FairLimiter,
        validation: FileValidation,
    ) -> None:
        self.project_id = project_id
        self.file_id = file_id
        self.key = key
        self.bytes = 0
        self._blob = blob
        self._max_bytes = max_bytes
        self._check_room = check_room
        self._hash = hashlib.sha256()
        self._threads = threads
        self._validation: FileValidation | None = validation

    def skip_validation(self) -> None:
        """Skip validation, if the file is not a training file. Call it before the first write."""
        self._validation = None

    async def consume(self, feed: Callable[[bytes], object], data: bytes) -> None:
        """Call `feed(data)` in a thread, and validate what it has written. Raises what it raises,
        or CpuPoolError."""
        await self._threads.run(feed, data)
        if self._validation is not None:
            await self._validation.advance()

    def write(self, chunk: bytes) -> None:
        """Write the next chunk. Raises PayloadTooLarge, StorageUnavailable, or as `check_room`."""
        self.bytes += len(chunk)
        if self.bytes > self._max_bytes:
            raise PayloadTooLarge(f"The file is larger than {self._max_bytes} bytes.", param="file")
        self._check_room(self.bytes)
        self._hash.update(chunk)
        if self._validation is not None:
            self._validation.collect(chunk)
        self._blob.write(chunk)

    def sha256(self) -> str:
        return self._hash.hexdigest()

    async def finish_validation(self) -> ValidationReport | None:
        """Return the report on the whole file; None if validation was skipped. Call it once."""
        return None if self._validation is None else await self._validation.finish()


@asynccontextmanager
async def receive_file(
    state: AppState, project_id: str, *, max_bytes: int, check_room: CheckRoom
) -> AsyncIterator[IncomingFile]:
    """Open a new file. It is stored when the block ends, and discarded if the block raises.

    `check_room` is called before each write with the bytes until then, and raises to refuse them.
    """
    file_id = ids.file_id()
    key = file_key(project_id, file_id)
    async with (
        open_writer(state, key) as blob,
        validate_file(state.cpu_pool, project_id) as validation,
    ):
        yield IncomingFile(
            blob,
            project_id=project_id,
            file_id=file_id,
            key=key,
            max_bytes=max_bytes,
            check_room=check_room,
            threads=state.transfer_threads,
            validation=validation,
        )


@asynccontextmanager
async def open_writer(state: AppState, key: str) -> AsyncIterator[ObjectWriter]:
    """Open an object of the store as its `writer` does, in threads."""
    threads = state.transfer_threads
    writer = await threads.run(state.store.writer, key)
    blob = await threads.run(writer.__enter__)
    try:
        yield blob
    except BaseException as error:
        # Shielded: a client that disconnects cancels the request.
        with anyio.CancelScope(shield=True):
            await threads.run(writer.__exit__, type(error), error, error.__traceback__)
        raise
    await threads.run(writer.__exit__, None, None, None)


def check_purpose(purpose: FilePurpose, filename: str, size: int) -> None:
    """Check a file's extension and size against its purpose. Raises InvalidRequest,
    PayloadTooLarge.

    A name without an extension is valid: clients that send raw bytes have no filename.
    """
    extension = PurePosixPath(filename).suffix
    if purpose in JSONL_PURPOSES and extension.lower() not in ("", ".jsonl"):
        raise InvalidRequest(
            f"Invalid extension '{extension}' for the purpose '{purpose}'. Must be .jsonl: "
            "one JSON object per line.",
            param="file",
        )
    if purpose == FilePurpose.BATCH and size > MAX_BATCH_FILE_BYTES:
        raise PayloadTooLarge(
            f"A batch file may have at most {MAX_BATCH_FILE_BYTES} bytes.", param="file"
        )


async def build_row(
    incoming: IncomingFile,
    *,
    filename: str,
    purpose: FilePurpose,
    expires_after_seconds: int | None,
) -> File:
    """Build the row of a received file, not yet added to a session.

    Raises InvalidRequest or PayloadTooLarge if the file is empty or does not match its purpose, and
    CpuPoolError if it could not be validated.
    """
    if incoming.bytes == 0:
        raise InvalidRequest("The file is empty. Upload a file with content.", param="file")
    check_purpose(purpose, filename, incoming.bytes)
    if expires_after_seconds is None and purpose == FilePurpose.BATCH:
        expires_after_seconds = BATCH_RETENTION_SECONDS
    file = File(
        id=incoming.file_id,
        project_id=incoming.project_id,
        filename=filename,
        purpose=purpose,
        bytes=incoming.bytes,
        sha256=incoming.sha256(),
        storage_key=incoming.key,
        expires_at=_compute_expiry(expires_after_seconds),
        status=FileStatus.PROCESSED,
    )
    report = await incoming.finish_validation() if purpose == FilePurpose.FINE_TUNE else None
    if report is not None:
        _record_report(report, file)
    return file


def _compute_expiry(seconds: int | None) -> Any:
    return None if seconds is None else func.clock_timestamp() + timedelta(seconds=seconds)


def _record_report(report: ValidationReport, file: File) -> None:
    file.status_details = report.status_details()
    file.status = FileStatus.PROCESSED if file.status_details is None else FileStatus.ERROR
    file.format = report.format
    file.examples = report.example_count
    if report.summary is not None:
        file.summary = report.summary.to_json()
    if report.errors:
        first = [asdict(error) for error in report.errors]
        file.validation_errors = {"count": report.error_count, "first": first}
