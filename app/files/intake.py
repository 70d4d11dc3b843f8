"""Intake of one file: streams it into the store, hashes and validates it, and builds its row."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import func

from app import ids
from app.db.tables import File
from app.errors import InvalidRequest, PayloadTooLarge
from app.files.schemas import FileFields, UploadPurpose
from app.formats import DatasetValidator, ValidationReport
from app.storage import ObjectStore, ObjectWriter, file_key

TRAINING = "fine-tune"
# A batch's files are kept for 30 days unless the user says otherwise; all others for ever.
BATCH_RETENTION_SECONDS = 30 * 24 * 3600
MAX_BATCH_FILE_BYTES = 200 * 2**20
JSONL_PURPOSES = ("fine-tune", "batch")


class IncomingFile:
    """One file on its way into the store: counted, hashed and judged as it passes."""

    def __init__(
        self, blob: ObjectWriter, *, project_id: str, file_id: str, key: str, max_bytes: int
    ) -> None:
        self.project_id = project_id
        self.file_id = file_id
        self.key = key
        self.bytes = 0
        self._blob = blob
        self._max_bytes = max_bytes
        self._hash = hashlib.sha256()
        self._validator: DatasetValidator | None = DatasetValidator()

    def skip_validation(self) -> None:
        """It is known before the first byte that this is no training file."""
        self._validator = None

    def write(self, chunk: bytes) -> None:
        """Take the next bytes. Raises TooLarge, StorageUnavailable."""
        self.bytes += len(chunk)
        if self.bytes > self._max_bytes:
            raise PayloadTooLarge(f"The file is larger than {self._max_bytes} bytes.", param="file")
        self._hash.update(chunk)
        if self._validator is not None:
            self._validator.feed(chunk)
        self._blob.write(chunk)

    def sha256(self) -> str:
        return self._hash.hexdigest()

    def finish_validation(self) -> ValidationReport | None:
        """What the judge says of the whole; None if it was not asked. To be called once."""
        return None if self._validator is None else self._validator.finish()


@contextmanager
def receive_file(store: ObjectStore, project_id: str, *, max_bytes: int) -> Iterator[IncomingFile]:
    """Take one file in. The store has it when the block ends, or nothing if the block raises."""
    file_id = ids.file_id()
    key = file_key(project_id, file_id)
    with store.writer(key) as blob:
        yield IncomingFile(
            blob, project_id=project_id, file_id=file_id, key=key, max_bytes=max_bytes
        )


def check_purpose(purpose: UploadPurpose, filename: str, size: int) -> None:
    """Raises InvalidRequest, TooLarge for what files of a purpose cannot be.

    A name without an extension passes: clients that send bytes have no name to give.
    """
    extension = PurePosixPath(filename).suffix
    if purpose in JSONL_PURPOSES and extension.lower() not in ("", ".jsonl"):
        raise InvalidRequest(
            f"Invalid extension '{extension}' for the purpose '{purpose}'. Must be .jsonl: "
            "one JSON object per line.",
            param="file",
        )
    if purpose == "batch" and size > MAX_BATCH_FILE_BYTES:
        raise PayloadTooLarge(
            f"A batch's file may have at most {MAX_BATCH_FILE_BYTES} bytes.", param="file"
        )


def build_row(incoming: IncomingFile, fields: FileFields, *, filename: str) -> File:
    """The row, not yet added, of a file that was taken in.

    Raises InvalidRequest, TooLarge if it is empty or not what its purpose asks for.
    """
    if incoming.bytes == 0:
        raise InvalidRequest("The file is empty. Upload a file with content.", param="file")
    check_purpose(fields.purpose, filename, incoming.bytes)
    verdict = incoming.finish_validation() if fields.purpose == TRAINING else None
    file = File(
        id=incoming.file_id,
        project_id=incoming.project_id,
        filename=filename,
        purpose=fields.purpose,
        bytes=incoming.bytes,
        sha256=incoming.sha256(),
        storage_key=incoming.key,
        expires_at=_expires_at(fields),
        status="processed",
    )
    if verdict is not None:
        _record_report(verdict, file)
    return file


def _expires_at(fields: FileFields) -> Any:
    if fields.expires_after is not None:
        return func.clock_timestamp() + timedelta(seconds=fields.expires_after.seconds)
    if fields.purpose == "batch":
        return func.clock_timestamp() + timedelta(seconds=BATCH_RETENTION_SECONDS)
    return None


def _record_report(verdict: ValidationReport, file: File) -> None:
    file.status_details = verdict.status_details()
    file.status = "processed" if file.status_details is None else "error"
    file.format = verdict.format
    file.examples = verdict.example_count
    if verdict.summary is not None:
        file.summary = verdict.summary.to_json()
    if verdict.errors:
        first = [asdict(fault) for fault in verdict.errors]
        file.faults = {"count": verdict.error_count, "first": first}
