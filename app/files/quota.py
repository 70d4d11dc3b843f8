"""Storage quota of a project: stored bytes and files, and uploads in progress.

The usage of a project is the sum of its rows in `storage_usage`. Triggers append one for each file,
part of an upload and checkpoint that is added or deleted, in the same transaction. An upload first
reserves the bytes that it declares, in a transaction that is serialized with the project's other
reservations, so that concurrent uploads cannot exceed the quota together. The transaction that adds
the file releases the reservation; one that a crashed process left behind expires.

Periodic tasks merge the rows, so that a sum stays cheap, and compare them with the tables.
"""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, delete, func, literal, or_, select, text, union_all
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import (
    Checkpoint,
    Conversation,
    EvalOutputItem,
    EvalRun,
    File,
    Job,
    Project,
    StorageUsage,
    StoredCompletion,
    StoredResponse,
    Upload,
    UploadPart,
    UploadState,
    WorkList,
    WorkRange,
)
from app.errors import StorageQuotaExceeded, TooManyOpenUploads
from app.settings import Settings

# No upload takes longer: its body has a deadline that grows with the bytes received.
RESERVATION_LIFETIME_SECONDS = 3600
# A form has less than this around its file, so a body that exceeds the quota by less may fit.
MAX_FORM_OVERHEAD_BYTES = 64 * 2**10
RECOUNT_TIMEOUT_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Usage:
    """Stored bytes and files of a project, reservations included."""

    bytes: int
    files: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """Room for one upload. `max_bytes` is None without a quota; `usage` is that of the others."""

    row_id: int
    max_bytes: int | None
    limit: int
    usage: Usage

    def check(self, size: int) -> None:
        """Raise StorageQuotaExceeded if `size` bytes are more than was reserved."""
        if self.max_bytes is not None and size > self.max_bytes:
            raise _build_bytes_error(self.usage.bytes, self.limit)


def reserve(
    session: Session,
    project_id: str,
    settings: Settings,
    *,
    size: int,
    files: int,
    is_declared: bool = True,
) -> Reservation:
    """Reserve `size` bytes, or what is left of the quota if `size` is only an upper bound.

    A declared size is that of the body: the file in it is a little smaller. Raises
    StorageQuotaExceeded.
    """
    _lock_quota(session, project_id)
    max_bytes, max_files = get_limits(session, project_id, settings)
    usage = get_usage(session, project_id)
    if max_files and usage.files + files > max_files:
        raise StorageQuotaExceeded(
            f"This project stores {usage.files} of at most {max_files} files. Delete files that "
            "you no longer need, then upload again."
        )
    reserved = size
    if max_bytes:
        left = max(max_bytes - usage.bytes, 0)
        if left == 0 or (is_declared and size - MAX_FORM_OVERHEAD_BYTES > left):
            raise _build_bytes_error(usage.bytes, max_bytes)
        reserved = min(size, left)
    row_id = session.scalars(
        insert(StorageUsage)
        .values(
            project_id=project_id,
            bytes=reserved,
            files=files,
            expires_at=clock.seconds_from_now(RESERVATION_LIFETIME_SECONDS),
        )
        .returning(StorageUsage.id)
    ).one()
    return Reservation(row_id, reserved if max_bytes else None, max_bytes, usage)


def release(session: Session, reservation: Reservation) -> None:
    """Release a reservation, in the transaction that adds what it was for, or after a failure."""
    session.execute(delete(StorageUsage).where(StorageUsage.id == reservation.row_id))


def check_declared(session: Session, project_id: str, settings: Settings, *, size: int) -> None:
    """Raise StorageQuotaExceeded if a file of this size would not fit. Reserves nothing."""
    max_bytes, _ = get_limits(session, project_id, settings)
    if max_bytes and (used := get_usage(session, project_id).bytes) + size > max_bytes:
        raise _build_bytes_error(used, max_bytes)


def check_open_uploads(session: Session, project_id: str, settings: Settings) -> None:
    """Reserve room for one more open upload until the transaction ends.

    Raises TooManyOpenUploads.
    """
    own = select(Project.max_open_uploads).where(Project.id == project_id)
    default = settings.max_open_uploads_per_project
    limit = session.scalar(select(func.coalesce(own.scalar_subquery(), default))) or 0
    if limit == 0:
        return
    _lock_quota(session, project_id)
    if count_open_uploads(session, project_id, maximum=limit) >= limit:
        raise TooManyOpenUploads(
            f"This project already has its maximum of {limit} unfinished upload(s). Complete or "
            "cancel one; those left alone expire within an hour."
        )


def count_open_uploads(session: Session, project_id: str, *, maximum: int | None = None) -> int:
    """Count the project's open uploads, up to `maximum`."""
    is_open = (
        Upload.project_id == project_id,
        Upload.state.in_((UploadState.PENDING, UploadState.COMPLETING)),
        Upload.expires_at > func.clock_timestamp(),
    )
    uploads = select(Upload.id).where(*is_open).limit(maximum)
    return session.scalar(select(func.count()).select_from(uploads.subquery())) or 0


def get_usage(session: Session, project_id: str) -> Usage:
    """Get the stored and reserved bytes and files of a project."""
    used = select(
        func.coalesce(func.sum(StorageUsage.bytes), 0),
        func.coalesce(func.sum(StorageUsage.files), 0),
    ).where(StorageUsage.project_id == project_id, _is_valid())
    total_bytes, total_files = session.execute(used).one()
    return Usage(max(int(total_bytes), 0), max(int(total_files), 0))


def get_limits(session: Session, project_id: str, settings: Settings) -> tuple[int, int]:
    """Get the most bytes and files that a project may store; 0 is no limit."""
    own = select(Project.max_storage_bytes, Project.max_files).where(Project.id == project_id)
    max_bytes, max_files = session.execute(own).one()
    return (
        settings.max_storage_bytes_per_project if max_bytes is None else max_bytes,
        settings.max_files_per_project if max_files is None else max_files,
    )


def set_limits(
    session: Session,
    project_id: str,
    *,
    max_bytes: int | None = None,
    max_files: int | None = None,
    max_uploads: int | None = None,
) -> Project | None:
    """Set a project's own quotas; None keeps a quota. Return None for an unknown project."""
    project = session.get(Project, project_id)
    if project is None:
        return None
    given = {
        "max_storage_bytes": max_bytes,
        "max_files": max_files,
        "max_open_uploads": max_uploads,
    }
    for name, limit in given.items():
        if limit is not None:
            setattr(project, name, limit)
    session.flush()
    return project


def merge(session: Session) -> None:
    """Merge each project's rows into one, and delete expired reservations."""
    session.execute(delete(StorageUsage).where(StorageUsage.expires_at < func.clock_timestamp()))
    is_change = StorageUsage.expires_at.is_(None)
    project = StorageUsage.project_id
    several = select(project).where(is_change).group_by(project).having(func.count() > 1)
    # One statement, so that no other transaction sees the rows deleted and their sum missing.
    merged = (
        delete(StorageUsage)
        .where(is_change, project.in_(several))
        .returning(project, StorageUsage.bytes, StorageUsage.files)
        .cte("merged")
    )
    totals = select(
        merged.c.project_id, func.sum(merged.c.bytes), func.sum(merged.c.files)
    ).group_by(merged.c.project_id)
    session.execute(insert(StorageUsage).from_select(["project_id", "bytes", "files"], totals))


def recount(session: Session) -> None:
    """Correct the usage to what the tables contain.

    One statement sees one snapshot, of both the tables and the sums: concurrent transactions change
    both alike, so no lock is needed. The first recount counts what was stored before the upgrade.
    """
    session.execute(text(f"SET LOCAL statement_timeout = '{RECOUNT_TIMEOUT_SECONDS}s'"))
    changes = union_all(*_select_stored(), _select_recorded()).subquery()
    project, drift, files = changes.c
    corrections = (
        select(project, func.sum(drift), func.sum(files))
        .group_by(project)
        .having(or_(func.sum(drift) != 0, func.sum(files) != 0))
    )
    session.execute(insert(StorageUsage).from_select(["project_id", "bytes", "files"], corrections))


def _select_stored() -> tuple[Select[str, int, int], ...]:
    none, one = literal(0), literal(1)
    return (
        select(File.project_id, File.bytes, one).where(File.deleted_at.is_(None)),
        select(Upload.project_id, UploadPart.bytes, none).join(
            Upload, Upload.id == UploadPart.upload_id
        ),
        select(Job.project_id, Checkpoint.bytes, none)
        .join(Job, Job.id == Checkpoint.job_id)
        .where(Checkpoint.deleted_at.is_(None)),
        select(WorkList.project_id, WorkRange.bytes, none).join(
            WorkRange, WorkRange.list_id == WorkList.id
        ),
        select(StoredCompletion.project_id, StoredCompletion.bytes, none),
        select(StoredResponse.project_id, StoredResponse.bytes, none),
        select(Conversation.project_id, Conversation.bytes, none),
        select(EvalOutputItem.project_id, EvalOutputItem.bytes, none),
        select(EvalRun.project_id, EvalRun.bytes, none),
    )


def _select_recorded() -> Select[str, int, int]:
    columns = (StorageUsage.project_id, -StorageUsage.bytes, -StorageUsage.files)
    return select(*columns).where(StorageUsage.expires_at.is_(None))


def _is_valid() -> ColumnElement[bool]:
    expires_at = StorageUsage.expires_at
    return or_(expires_at.is_(None), expires_at > func.clock_timestamp())


def _lock_quota(session: Session, project_id: str) -> None:
    """Serialize the project's reservations until the transaction ends."""
    name = f"storage\n{project_id}"
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


def _build_bytes_error(used: int, limit: int) -> StorageQuotaExceeded:
    return StorageQuotaExceeded(
        f"This project stores {used} of at most {limit} bytes, in files, models and uploads in "
        "progress, and this upload does not fit. Delete files or models that you no longer need, "
        "then upload again."
    )
