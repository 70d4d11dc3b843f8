"""Files: taken in as a stream, judged on the way, listed, read and deleted."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.orm import Session

from app.db import outbox, pagination
from app.db.pagination import Page
from app.db.tables import TERMINAL_STATES, File, Job
from app.errors import InvalidRequest, NotFound
from app.storage import ObjectStore

TRAINING_PURPOSE = "fine-tune"
RESULTS_PURPOSE = "fine-tune-results"


@dataclass(frozen=True, slots=True)
class FileDownload:
    """The bytes of a file as they are sent. `length` is how many."""

    filename: str
    length: int
    chunks: Iterator[bytes]


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
    mine = select(File).where(
        File.id == file_id, File.project_id == project_id, *_not_deleted_or_expired()
    )
    if lock is not None:
        mine = mine.with_for_update(read=lock == "share")
    return session.scalars(mine).one_or_none()


def get(
    session: Session, project_id: str, file_id: str, *, lock: Literal["update"] | None = None
) -> File:
    """The same, or NotFound in the words that clients know."""
    file = find(session, project_id, file_id, lock=lock)
    if file is None:
        raise NotFound(f"No such File object: {file_id}", param="id")
    return file


def list_files(
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
    statement = mine.where(*_not_deleted_or_expired())
    if purpose is not None:
        statement = statement.where(File.purpose == purpose)
    return pagination.page_by_age(
        session, statement, cursor_rows=mine, after=after, limit=limit, oldest_first=order == "asc"
    )


def delete(session: Session, project_id: str, file_id: str) -> None:
    """Delete a file: gone at once, its bytes a moment later.

    Raises NotFound, and InvalidRequest while a job needs it: a trainer that dies reads it again.
    """
    # Of deletions at the same time one deletes; and a job that is just being created is waited for.
    file = get(session, project_id, file_id, lock="update")
    job = session.scalars(_jobs_using(file_id).limit(1)).one_or_none()
    if job is not None:
        raise InvalidRequest(
            f"File '{file_id}' is used by the job {job.id}, which is {job.state}. "
            "Cancel the job, or wait until it has ended.",
            param="id",
        )
    file.deleted_at = func.clock_timestamp()
    outbox.enqueue_blob_deletion(session, file.storage_key)


def _jobs_using(file_id: str) -> Select[Job]:
    uses_it = or_(Job.training_file_id == file_id, Job.validation_file_id == file_id)
    return select(Job).where(uses_it, Job.state.not_in(TERMINAL_STATES))


def download(store: ObjectStore, file: File, *, results_as_base64: bool) -> FileDownload:
    """The bytes of a file. Result files are base64 text by default: clients decode them so.

    Raises NotFound if the store has lost them, StorageUnavailable.
    """
    try:
        chunks = store.chunks(file.storage_key)
    except FileNotFoundError as error:
        raise NotFound(f"The content of {file.id} is not stored any more.", param="id") from error
    if file.purpose == RESULTS_PURPOSE and results_as_base64:
        return FileDownload(file.filename, -(-file.bytes // 3) * 4, _encode_base64(chunks))
    return FileDownload(file.filename, file.bytes, chunks)


def _not_deleted_or_expired() -> tuple[ColumnElement[bool], ...]:
    unexpired = or_(File.expires_at.is_(None), File.expires_at > func.clock_timestamp())
    return (File.deleted_at.is_(None), unexpired)


def _encode_base64(chunks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        rest += chunk
        # Of multiples of 3, so that pieces encoded one by one join into one base64 text.
        whole = len(rest) - len(rest) % 3
        yield base64.b64encode(rest[:whole])
        rest = rest[whole:]
    yield base64.b64encode(rest)
