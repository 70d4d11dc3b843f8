"""Batches: create, get, list, cancel."""

from typing import ClassVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import ids
from app.auth import projects
from app.batches.endpoints import BATCH_ENDPOINTS
from app.batches.schemas import CreateBatch
from app.db import clock, pagination
from app.db.pagination import Page
from app.db.tables import (
    ENDED_BATCH_STATES,
    Batch,
    BatchState,
    File,
    FilePurpose,
    WorkStop,
)
from app.errors import InvalidRequest, NotFound, RateLimited
from app.files import quota
from app.files import service as files
from app.settings import Settings
from app.work import lists

KIND = "batch"
WINDOW_SECONDS = 24 * 3600
# Of one project, so that what it has waiting is bounded.
MAX_OPEN_BATCHES = 100
CANCELLABLE_STATES = (BatchState.VALIDATING, BatchState.IN_PROGRESS)


class TooManyOpenBatches(RateLimited):
    """This project has too many unfinished batches. Retry when one has ended, or cancel one."""

    # The official SDKs retry for seconds only; a batch takes longer to end.
    headers: ClassVar[dict[str, str]] = {"Retry-After": "60", "x-should-retry": "false"}


def create(
    session: Session,
    settings: Settings,
    project_id: str,
    body: CreateBatch,
    *,
    api_key_id: str | None = None,
) -> Batch:
    """Create a batch, whose input is checked afterwards.

    Raises TooManyOpenBatches, StorageQuotaExceeded, Forbidden, and InvalidRequest.
    """
    projects.lock_active(session, project_id)
    _check_endpoint(body.endpoint)
    _check_open_batches(session, project_id)
    file = _get_input(session, project_id, body.input_file_id)
    # One byte more: its results need room.
    quota.check_declared(session, project_id, settings, size=1)
    batch = Batch(
        id=ids.batch_id(),
        project_id=project_id,
        api_key_id=api_key_id,
        state=BatchState.VALIDATING,
        endpoint=body.endpoint,
        completion_window=body.completion_window,
        input_file_id=file.id,
        output_expires_after_seconds=(
            None if body.output_expires_after is None else body.output_expires_after.seconds
        ),
        user_metadata=body.metadata,
        expires_at=clock.seconds_from_now(WINDOW_SECONDS),
    )
    session.add(batch)
    session.flush()
    session.refresh(batch)
    lists.create(session, batch.id, kind=KIND, project_id=project_id, expires_at=batch.expires_at)
    return batch


def get(session: Session, project_id: str, batch_id: str) -> Batch:
    """Get a project's batch. Raises NotFound, also for another project's."""
    statement = select(Batch).where(Batch.id == batch_id, Batch.project_id == project_id)
    fresh = statement.execution_options(populate_existing=True)
    batch = session.scalars(fresh).one_or_none()
    if batch is None:
        raise NotFound(f"No batch found with id '{batch_id}'.", param="batch_id")
    return batch


def list_batches(
    session: Session, project_id: str, *, after: str | None, limit: int
) -> Page[Batch]:
    """List a page of a project's batches, newest first."""
    of_project = select(Batch).where(Batch.project_id == project_id)
    return pagination.fetch_page_by_age(
        session, of_project, cursor_rows=of_project, after=after, limit=limit
    )


def cancel(session: Session, project_id: str, batch_id: str) -> Batch:
    """Cancel a batch: no request of it is answered any more. What was answered is kept. Idempotent.

    Raises NotFound, and InvalidRequest for a batch that has ended otherwise or is about to.
    """
    get(session, project_id, batch_id)
    # The list first, as whoever ends the batch.
    lists.lock(session, batch_id)
    batch = get(session, project_id, batch_id)
    if batch.state in (BatchState.CANCELLING, BatchState.CANCELLED):
        return batch
    if batch.state not in CANCELLABLE_STATES:
        raise InvalidRequest(
            f"Cannot cancel a batch with status '{batch.state}'.", param="batch_id"
        )
    if not _stop(session, batch):
        raise InvalidRequest(
            "Cannot cancel this batch any more: its results are being filed. Wait until it has "
            "ended.",
            param="batch_id",
        )
    return batch


def cancel_all(session: Session, project_id: str) -> None:
    """Cancel the unfinished batches of a project that is being archived."""
    cancellable = select(Batch.id).where(
        Batch.project_id == project_id, Batch.state.in_(CANCELLABLE_STATES)
    )
    for batch_id in session.scalars(cancellable.order_by(Batch.id)).all():
        lists.lock(session, batch_id)
        batch = get(session, project_id, batch_id)
        if batch.state in CANCELLABLE_STATES:
            # One whose results are being filed already ends by itself.
            _stop(session, batch)


def _stop(session: Session, batch: Batch) -> bool:
    """Stop a locked batch; false if its results are being filed already."""
    if not lists.stop(session, batch.id, WorkStop.CANCELLED):
        return False
    batch.state, batch.cancelling_at = BatchState.CANCELLING, func.clock_timestamp()
    session.flush()
    return True


def _check_endpoint(endpoint: str) -> None:
    if endpoint in BATCH_ENDPOINTS:
        return
    known = ", ".join(f"'{path}'" for path in BATCH_ENDPOINTS)
    raise InvalidRequest(
        f"Invalid 'endpoint': batches of this service are for {known}.",
        param="endpoint",
        code="invalid_value",
    )


def _check_open_batches(session: Session, project_id: str) -> None:
    # Serializes the project's creations, so that two do not both find room for one.
    # Not by a lock on the project's row, of which each has a share already.
    name = f"batches\n{project_id}"
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))
    # Cancelled ones end by themselves, and send no more requests.
    waiting = Batch.state.not_in((*ENDED_BATCH_STATES, BatchState.CANCELLING))
    is_open = (Batch.project_id == project_id, waiting)
    rows = select(Batch.id).where(*is_open).limit(MAX_OPEN_BATCHES).subquery()
    if (session.scalar(select(func.count()).select_from(rows)) or 0) >= MAX_OPEN_BATCHES:
        raise TooManyOpenBatches


def _get_input(session: Session, project_id: str, file_id: str) -> File:
    """Find the input file, and keep it from being deleted until the transaction ends."""
    file = files.find(session, project_id, file_id, lock="share")
    if file is None:
        raise InvalidRequest(
            f"No such File object: {file_id}. Upload the requests with purpose 'batch' first.",
            param="input_file_id",
            code="invalid_value",
        )
    if file.purpose != FilePurpose.BATCH:
        raise InvalidRequest(
            f"Invalid 'input_file_id': the file has purpose '{file.purpose}'. Upload it with "
            "purpose 'batch'.",
            param="input_file_id",
            code="invalid_value",
        )
    return file
