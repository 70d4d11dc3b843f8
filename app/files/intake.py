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
from app.errors import InvalidRequest, TooLarge
from app.files.schemas import FileFields, Purpose
from app.formats import Judge, Verdict
from app.storage import BlobStore, BlobWriter, file_key

TRAINING = "fine-tune"
# A batch's files are kept for 30 days unless the user says otherwise; all others for ever.
BATCH_SECONDS = 30 * 24 * 3600
BATCH_BYTES = 200 * 2**20
JSONL_ONLY = ("fine-tune", "batch")


class Intake:
    """One file on its way into the store: counted, hashed and judged as it passes."""

    def __init__(
        self, blob: BlobWriter, *, project_id: str, file_id: str, key: str, max_bytes: int
    ) -> None:
        self.project_id = project_id
        self.file_id = file_id
        self.key = key
        self.bytes = 0
        self._blob = blob
        self._max_bytes = max_bytes
        self._hash = hashlib.sha256()
        self._judge: Judge | None = Judge()

    def do_not_judge(self) -> None:
        """It is known before the first byte that this is no training file."""
        self._judge = None

    def write(self, chunk: bytes) -> None:
        """Take the next bytes. Raises TooLarge, StorageUnavailable."""
        self.bytes += len(chunk)
        if self.bytes > self._max_bytes:
            raise TooLarge(f"The file is larger than {self._max_bytes} bytes.", param="file")
        self._hash.update(chunk)
        if self._judge is not None:
            self._judge.feed(chunk)
        self._blob.write(chunk)

    def sha256(self) -> str:
        return self._hash.hexdigest()

    def verdict(self) -> Verdict | None:
        """What the judge says of the whole; None if it was not asked. To be called once."""
        return None if self._judge is None else self._judge.finish()


@contextmanager
def intake(store: BlobStore, project_id: str, *, max_bytes: int) -> Iterator[Intake]:
    """Take one file in. The store has it when the block ends, or nothing if the block raises."""
    file_id = ids.file_id()
    key = file_key(project_id, file_id)
    with store.writer(key) as blob:
        yield Intake(blob, project_id=project_id, file_id=file_id, key=key, max_bytes=max_bytes)


def check_kind(purpose: Purpose, filename: str, size: int) -> None:
    """Raises InvalidRequest, TooLarge for what files of a purpose cannot be.

    A name without an extension passes: clients that send bytes have no name to give.
    """
    extension = PurePosixPath(filename).suffix
    if purpose in JSONL_ONLY and extension.lower() not in ("", ".jsonl"):
        raise InvalidRequest(
            f"Invalid extension '{extension}' for the purpose '{purpose}'. Must be .jsonl: "
            "one JSON object per line.",
            param="file",
        )
    if purpose == "batch" and size > BATCH_BYTES:
        raise TooLarge(f"A batch's file may have at most {BATCH_BYTES} bytes.", param="file")


def describe(taken: Intake, fields: FileFields, *, filename: str) -> File:
    """The row, not yet added, of a file that was taken in.

    Raises InvalidRequest, TooLarge if it is empty or not what its purpose asks for.
    """
    if taken.bytes == 0:
        raise InvalidRequest("The file is empty. Upload a file with content.", param="file")
    check_kind(fields.purpose, filename, taken.bytes)
    verdict = taken.verdict() if fields.purpose == TRAINING else None
    file = File(
        id=taken.file_id,
        project_id=taken.project_id,
        filename=filename,
        purpose=fields.purpose,
        bytes=taken.bytes,
        sha256=taken.sha256(),
        storage_key=taken.key,
        expires_at=_expiry(fields),
        status="processed",
    )
    if verdict is not None:
        _record(verdict, file)
    return file


def _expiry(fields: FileFields) -> Any:
    if fields.expires_after is not None:
        return func.clock_timestamp() + timedelta(seconds=fields.expires_after.seconds)
    if fields.purpose == "batch":
        return func.clock_timestamp() + timedelta(seconds=BATCH_SECONDS)
    return None


def _record(verdict: Verdict, file: File) -> None:
    file.status_details = verdict.details()
    file.status = "processed" if file.status_details is None else "error"
    file.format = verdict.format
    file.examples = verdict.examples
    if verdict.summary is not None:
        file.summary = verdict.summary.to_json()
    if verdict.faults:
        first = [asdict(fault) for fault in verdict.faults]
        file.faults = {"count": verdict.fault_count, "first": first}
