"""Intake of one file: stream it into the store, hash and validate it, build its row."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import func

from app import ids
from app.db.tables import File, FilePurpose, FileStatus
from app.errors import InvalidRequest, PayloadTooLarge
from app.formats import DatasetValidator, ValidationReport
from app.storage import ObjectStore, ObjectWriter, file_key

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
    ) -> None:
        self.project_id = project_id
        self.file_id = file_id
        self.key = key
        self.bytes = 0
        self._blob = blob
        self._max_bytes = max_bytes
        self._check_room = check_room
        self._hash = hashlib.sha256()
        self._validator: DatasetValidator | None = DatasetValidator()

    def skip_validation(self) -> None:
        """Skip validation, if the file is not a training file. Call it before the first write."""
        self._validator = None

    def write(self, chunk: bytes) -> None:
        """Write the next chunk. Raises PayloadTooLarge, StorageUnavailable, or as `check_room`."""
        self.bytes += len(chunk)
        if self.bytes > self._max_bytes:
            raise PayloadTooLarge(f"The file is larger than {self._max_bytes} bytes.", param="file")
        self._check_room(self.bytes)
        self._hash.update(chunk)
        if self._validator is not None:
            self._validator.feed(chunk)
        self._blob.write(chunk)

    def sha256(self) -> str:
        return self._hash.hexdigest()

    def finish_validation(self) -> ValidationReport | None:
        """Return the report on the whole file; None if validation was skipped. Call it once."""
        return None if self._validator is None else self._validator.finish()


@contextmanager
def receive_file(
    store: ObjectStore, project_id: str, *, max_bytes: int, check_room: CheckRoom
) -> Iterator[IncomingFile]:
    """Open a new file. It is stored when the block ends, and discarded if the block raises.

    `check_room` is called before each write with the bytes until then, and raises to refuse them.
    """
    file_id = ids.file_id()
    key = file_key(project_id, file_id)
    with store.writer(key) as blob:
        yield IncomingFile(
            blob,
            project_id=project_id,
            file_id=file_id,
            key=key,
            max_bytes=max_bytes,
            check_room=check_room,
        )


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


def build_row(
    incoming: IncomingFile,
    *,
    filename: str,
    purpose: FilePurpose,
    expires_after_seconds: int | None,
) -> File:
    """Build the row of a received file, not yet added to a session.

    Raises InvalidRequest or PayloadTooLarge if the file is empty or does not match its purpose.
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
    report = incoming.finish_validation() if purpose == FilePurpose.FINE_TUNE else None
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
