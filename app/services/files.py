"""Files: taken in as a stream, judged on the way, listed, read and deleted."""

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.orm import Session

from app import ids
from app.db.models import TERMINAL, File, Job
from app.errors import InvalidRequest, NotFound, TooLarge
from app.formats import Judge, Verdict
from app.schemas.files import FileFields, Purpose
from app.services import outbox, pages
from app.services.pages import Page
from app.storage import BlobStore, BlobWriter, file_key

TRAINING = "fine-tune"
RESULTS = "fine-tune-results"
# A batch's files are kept for 30 days unless the user says otherwise; all others for ever.
BATCH_SECONDS = 30 * 24 * 3600
BATCH_BYTES = 200 * 2**20
JSONL_ONLY = ("fine-tune", "batch")


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a file as they are sent. `length` is how many."""

    filename: str
    length: int
    chunks: Iterator[bytes]


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


def find(
    session: Session,
    project_id: str,
    file_id: str,
    *,
    lock: Literal["share", "update"] | None = None,
) -> File | None:
    """A project's file that is neither deleted nor expired.

    With a shared lock it stays until the transaction ends; with the other it can be deleted.
    """
    mine = select(File).where(File.id == file_id, File.project_id == project_id, *_there())
    if lock is not None:
        mine = mine.with_for_update(read=lock == "share")
    return session.scalars(mine).one_or_none()


def retrieve(
    session: Session, project_id: str, file_id: str, *, lock: Literal["update"] | None = None
) -> File:
    """The same, or NotFound in the words that clients know."""
    file = find(session, project_id, file_id, lock=lock)
    if file is None:
        raise NotFound(f"No such File object: {file_id}", param="id")
    return file


def list_(
    session: Session,
    project_id: str,
    *,
    purpose: str | None,
    order: Literal["asc", "desc"],
    after: str | None,
    limit: int,
) -> Page[File]:
    """A page of a project's files."""
    mine = select(File).where(File.project_id == project_id)
    statement = mine.where(*_there())
    if purpose is not None:
        statement = statement.where(File.purpose == purpose)
    return pages.by_age(
        session, statement, named=mine, after=after, limit=limit, oldest_first=order == "asc"
    )


def delete(session: Session, project_id: str, file_id: str) -> None:
    """Delete a file: gone at once, its bytes a moment later.

    Raises NotFound, and InvalidRequest while a job needs it: a trainer that dies reads it again.
    """
    # Of deletions at the same time one deletes; and a job that is just being created is waited for.
    file = retrieve(session, project_id, file_id, lock="update")
    job = session.scalars(_jobs_on(file_id).limit(1)).one_or_none()
    if job is not None:
        raise InvalidRequest(
            f"File '{file_id}' is used by the job {job.id}, which is {job.state}. "
            "Cancel the job, or wait until it has ended.",
            param="id",
        )
    file.deleted_at = func.clock_timestamp()
    outbox.delete_blob(session, file.storage_key)


def _jobs_on(file_id: str) -> Select[Job]:
    uses_it = or_(Job.training_file_id == file_id, Job.validation_file_id == file_id)
    return select(Job).where(uses_it, Job.state.not_in(TERMINAL))


def content(store: BlobStore, file: File, *, results_as_base64: bool) -> Content:
    """The bytes of a file. Result files are base64 text by default: clients decode them so.

    Raises NotFound if the store has lost them, StorageUnavailable.
    """
    try:
        chunks = store.chunks(file.storage_key)
    except FileNotFoundError as error:
        raise NotFound(f"The content of {file.id} is not stored any more.", param="id") from error
    if file.purpose == RESULTS and results_as_base64:
        return Content(file.filename, -(-file.bytes // 3) * 4, _encoded(chunks))
    return Content(file.filename, file.bytes, chunks)


def _there() -> tuple[ColumnElement[bool], ...]:
    unexpired = or_(File.expires_at.is_(None), File.expires_at > func.clock_timestamp())
    return (File.deleted_at.is_(None), unexpired)


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


def _encoded(chunks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        rest += chunk
        # Of multiples of 3, so that pieces encoded one by one join into one base64 text.
        whole = len(rest) - len(rest) % 3
        yield base64.b64encode(rest[:whole])
        rest = rest[whole:]
    yield base64.b64encode(rest)
