"""Files: add, list, get, delete, download."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, func, or_, select, update
from sqlalchemy.orm import QueryableAttribute, Session

from app.db import outbox, pagination
from app.db.pagination import Page
from app.db.tables import (
    ENDED_BATCH_STATES,
    ENDED_RUN_STATES,
    TERMINAL_STATES,
    Batch,
    EvalRun,
    File,
    FilePurpose,
    FileStatus,
    Job,
    Sweep,
    SweepState,
    Upload,
)
from app.errors import InvalidRequest, NotFound
from app.storage import ObjectStore

# Name of a deleted file, whose own might tell what it contained.
ERASED_FILENAME = "deleted"


@dataclass(frozen=True, slots=True)
class FileDownload:
    """Content of a file as it is sent to the client; `length` is in bytes."""

    filename: str
    length: int
    chunks: Iterator[bytes]


def add(session: Session, file: File) -> File:
    """Insert the row of a file whose content is stored."""
    session.add(file)
    session.flush()
    return file


def discard(session: Session, file: File) -> None:
    """Delete the stored content of a file whose row is not inserted."""
    outbox.enqueue_blob_deletion(session, file.storage_key)


def find(
    session: Session,
    project_id: str,
    file_id: str,
    *,
    lock: Literal["share", "update"] | None = None,
) -> File | None:
    """Find a project's file that is neither deleted nor expired.

    `lock="share"` keeps it from being deleted until the transaction ends; `lock="update"` is for
    the transaction that deletes it.
    """
    statement = select(File).where(
        File.id == file_id, File.project_id == project_id, *_is_available()
    )
    if lock is not None:
        statement = statement.with_for_update(read=lock == "share")
    return session.scalars(statement).one_or_none()


def get(
    session: Session, project_id: str, file_id: str, *, lock: Literal["update"] | None = None
) -> File:
    """Get a file as `find` does. Raises NotFound, with OpenAI's message."""
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
    status: FileStatus | None = None,
    search: str | None = None,
) -> Page[File]:
    """List a page of a project's files, optionally of one purpose or status, or those that have
    `search` in their name or id, in any case."""
    of_project = select(File).where(File.project_id == project_id)
    statement = of_project.where(*_is_available())
    if purpose is not None:
        statement = statement.where(File.purpose == purpose)
    if status is not None:
        statement = statement.where(File.status == status)
    if search is not None:
        texts = (File.id, File.filename)
        statement = statement.where(
            or_(*(text.icontains(search, autoescape=True) for text in texts))
        )
    return pagination.fetch_page_by_age(
        session,
        statement,
        cursor_rows=of_project,
        after=after,
        limit=limit,
        oldest_first=order == "asc",
    )


def delete(session: Session, project_id: str, file_id: str) -> None:
    """Mark a file as deleted and enqueue the deletion of its content.

    Raises NotFound, and InvalidRequest while an unfinished job or batch uses it, which may read it
    again, or a running sweep, whose next jobs will.
    """
    # The lock serializes concurrent deletions, and waits for a job that is being created on it.
    file = get(session, project_id, file_id, lock="update")
    for kind, users in select_users(file_id):
        user = session.scalars(users.limit(1)).one_or_none()
        if user is not None:
            raise InvalidRequest(
                f"File '{file_id}' is used by the {kind} {user.id}, which is {user.state}. "
                f"Cancel the {kind}, or wait until it has ended.",
                param="id",
            )
    erase(session, file)


def erase(session: Session, file: File) -> None:
    """Mark a file as deleted, enqueue the deletion of its content, and erase its description."""
    file.deleted_at = func.clock_timestamp()
    outbox.enqueue_blob_deletion(session, file.storage_key)
    erase_description(session, file)


def erase_description(session: Session, file: File) -> None:
    """Erase what a deleted file's row says of its content: name, labels, quoted errors.

    The row itself stays, since jobs refer to it.
    """
    file.filename = ERASED_FILENAME
    file.status_details = file.validation_errors = file.summary = None
    of_file = update(Upload).where(Upload.file_id == file.id)
    session.execute(of_file.values(filename=ERASED_FILENAME))


def is_used(session: Session, file_id: str) -> bool:
    """Check whether an unfinished job or batch, or a running sweep, may read a file again."""
    return any(
        session.scalars(users.limit(1)).one_or_none() is not None
        for _, users in select_users(file_id)
    )


def select_users(
    file_id: str | QueryableAttribute[str],
) -> tuple[tuple[str, Select[Any]], ...]:
    """Select the unfinished jobs, sweeps, batches and eval runs that use a file, or that of an
    outer query.

    Each comes with what it is called.
    """
    jobs = select(Job).where(_uses_file(Job, file_id), Job.state.not_in(TERMINAL_STATES))
    sweeps = select(Sweep).where(_uses_file(Sweep, file_id), Sweep.state == SweepState.RUNNING)
    batches = select(Batch).where(
        Batch.input_file_id == file_id, Batch.state.not_in(ENDED_BATCH_STATES)
    )
    runs = select(EvalRun).where(EvalRun.file_id == file_id, EvalRun.state.not_in(ENDED_RUN_STATES))
    return ("job", jobs), ("sweep", sweeps), ("batch", batches), ("eval run", runs)


def _uses_file(
    table: type[Job] | type[Sweep], file_id: str | QueryableAttribute[str]
) -> ColumnElement[bool]:
    return or_(
        table.training_file_id == file_id,
        table.validation_file_id == file_id,
        table.test_file_id == file_id,
    )


def download(store: ObjectStore, file: File, *, results_as_base64: bool) -> FileDownload:
    """Open the content of a file. Result files are base64 by default, which OpenAI's clients
    decode.

    Raises NotFound if the store has lost it, or StorageUnavailable.
    """
    try:
        chunks = store.chunks(file.storage_key)
    except FileNotFoundError as error:
        raise NotFound(f"The content of {file.id} is no longer stored.", param="id") from error
    if file.purpose == FilePurpose.FINE_TUNE_RESULTS and results_as_base64:
        return FileDownload(file.filename, -(-file.bytes // 3) * 4, _encode_base64(chunks))
    return FileDownload(file.filename, file.bytes, chunks)


def _is_available() -> tuple[ColumnElement[bool], ...]:
    unexpired = or_(File.expires_at.is_(None), File.expires_at > func.clock_timestamp())
    return (File.deleted_at.is_(None), unexpired)


def _encode_base64(chunks: Iterator[bytes]) -> Iterator[bytes]:
    pending = b""
    for chunk in chunks:
        pending += chunk
        # Encode multiples of 3 bytes, so that the pieces concatenate to one base64 text.
        whole = len(pending) - len(pending) % 3
        yield base64.b64encode(pending[:whole])
        pending = pending[whole:]
    yield base64.b64encode(pending)
