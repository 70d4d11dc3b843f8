"""Create, get, list, cancel and delete eval runs; list and get their output items."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, ClassVar, TypeVar

import orjson
from sqlalchemy import func, select
from sqlalchemy.orm import Session, defer, undefer

from app import ids
from app.auth import projects
from app.catalog import Catalog
from app.db import clock, pagination
from app.db.pagination import EMPTY_PAGE, Page
from app.db.tables import (
    ENDED_RUN_STATES,
    EvalOutputItem,
    EvalRun,
    EvalRunState,
    OutputItemStatus,
    WorkStop,
)
from app.errors import InvalidRequest, NotFound, RateLimited
from app.evals import deletion, run_checks, service
from app.evals.run_schemas import CreateEvalRun
from app.evals.run_sources import (
    FileIdSource,
    StoredCompletionsSource,
)
from app.files import quota
from app.settings import Settings
from app.wire.base import MAX_PAGE_BYTES
from app.work import lists

KIND = "eval_run"
WINDOW_SECONDS = 24 * 3600
# Of one project, so that what it has waiting is bounded.
MAX_OPEN_RUNS = 100
MAX_RUNS = 10_000
# Of a request. Counted for a run whose own size is not known.
MAX_SOURCE_BYTES = 2**20
Listed = TypeVar("Listed", EvalRun, EvalOutputItem)


class TooManyOpenRuns(RateLimited):
    """This project has too many unfinished eval runs. Retry when one has ended, or cancel one."""

    # The official SDKs retry for seconds only; a run takes longer to end.
    headers: ClassVar[dict[str, str]] = {"Retry-After": "60", "x-should-retry": "false"}


def create(
    session: Session,
    settings: Settings,
    catalog: Catalog,
    project_id: str,
    eval_id: str,
    body: CreateEvalRun,
    *,
    api_key_id: str | None = None,
) -> EvalRun:
    """Create a run, whose items are counted afterwards.

    Raises NotFound, ModelNotFound, TooManyOpenRuns, StorageQuotaExceeded, Forbidden, and
    InvalidRequest.
    """
    projects.lock_active(session, project_id)
    parent = service.get(session, project_id, eval_id, share_lock=True)
    model = run_checks.check_sampling(session, catalog, project_id, parent, body.data_source)
    _check_open_runs(session, project_id)
    source = body.data_source.source
    if isinstance(source, StoredCompletionsSource):
        run_checks.check_stored(parent)
    file_id = None
    if isinstance(source, FileIdSource):
        file_id = run_checks.get_file(session, project_id, source.id).id
    data_source = body.data_source.model_dump(mode="json", exclude_unset=True)
    size = len(orjson.dumps(data_source))
    # One byte more: its results need room.
    quota.check_declared(session, project_id, settings, size=size + 1)
    row = EvalRun(
        id=ids.eval_run_id(),
        eval_id=parent.id,
        project_id=project_id,
        api_key_id=api_key_id,
        state=EvalRunState.QUEUED,
        name=body.name or "",
        model=model,
        data_source=data_source,
        bytes=size,
        file_id=file_id,
    )
    # Left unset rather than None, which would store JSON null instead of SQL NULL.
    if body.metadata is not None:
        row.user_metadata = body.metadata
    session.add(row)
    session.flush()
    session.refresh(row)
    lists.create(
        session,
        row.id,
        kind=KIND,
        project_id=project_id,
        expires_at=clock.seconds_from_now(WINDOW_SECONDS),
    )
    return row


def get(session: Session, project_id: str, eval_id: str, run_id: str) -> EvalRun:
    """Get a run. Raises NotFound, also for another project's and another eval's."""
    row: EvalRun | None = session.scalars(_select(project_id, eval_id, run_id)).one_or_none()
    if row is None:
        raise _build_not_found(run_id)
    return row


def list_runs(
    session: Session,
    project_id: str,
    eval_id: str,
    *,
    state: EvalRunState | None,
    after: str | None,
    limit: int,
    oldest_first: bool,
) -> Page[EvalRun]:
    """List a page of an eval's runs. Raises NotFound."""
    service.get(session, project_id, eval_id)
    all_runs = select(EvalRun).where(EvalRun.eval_id == eval_id)
    runs = all_runs.where(EvalRun.deleted_at.is_(None))
    if state is not None:
        runs = runs.where(EvalRun.state == state)
    page = pagination.fetch_page_by_age(
        session,
        runs.options(defer(EvalRun.data_source)),
        cursor_rows=all_runs.options(defer(EvalRun.data_source)),
        after=after,
        limit=limit,
        oldest_first=oldest_first,
    )
    sizes = [row.bytes or MAX_SOURCE_BYTES for row in page.rows]
    return _load_by_size(session, page, sizes, EvalRun.data_source)


def cancel(session: Session, project_id: str, eval_id: str, run_id: str) -> EvalRun:
    """Cancel a run; the results so far stay. One that has ended is returned as it is."""
    get(session, project_id, eval_id, run_id)
    is_stopped = lists.stop(session, run_id, WorkStop.CANCELLED)
    row = _lock(session, project_id, eval_id, run_id)
    if is_stopped:
        row.state = EvalRunState.CANCELED
    session.flush()
    session.refresh(row)
    return row


def cancel_all(session: Session, project_id: str) -> None:
    """Cancel the unfinished runs of a project that is being archived."""
    running = select(EvalRun.id).where(
        EvalRun.project_id == project_id, EvalRun.state.not_in(ENDED_RUN_STATES)
    )
    for run_id in session.scalars(running.order_by(EvalRun.id)).all():
        # One whose results are being summed up already ends by itself.
        if lists.stop(session, run_id, WorkStop.CANCELLED):
            run = session.get_one(EvalRun, run_id, with_for_update=True, populate_existing=True)
            run.state = EvalRunState.CANCELED
    session.flush()


def delete_run(session: Session, project_id: str, eval_id: str, run_id: str) -> None:
    """Delete a run in any state; the sweep deletes its items. Raises NotFound."""
    get(session, project_id, eval_id, run_id)
    deletion.erase_runs(session, EvalRun.id == run_id)


def list_items(
    session: Session,
    run: EvalRun,
    *,
    status: OutputItemStatus | None,
    after: str | None,
    limit: int,
    oldest_first: bool,
) -> Page[EvalOutputItem]:
    """List a page of a run's output items, in the order of its source.

    It ends after MAX_PAGE_BYTES.
    """
    all_items = select(EvalOutputItem).where(EvalOutputItem.run_id == run.id)
    items = all_items if status is None else all_items.where(EvalOutputItem.status == status)
    column = EvalOutputItem.index
    if after is not None:
        cursor = pagination.find_cursor_row(session, all_items.where(EvalOutputItem.id == after))
        if cursor is None:
            return EMPTY_PAGE
        items = items.where(column > cursor.index if oldest_first else column < cursor.index)
    ordered = items.order_by(column if oldest_first else column.desc())
    page = pagination.fetch_page(session, ordered, limit=limit)
    return _load_by_size(session, page, [row.bytes for row in page.rows], EvalOutputItem.content)


def _load_by_size(
    session: Session, page: Page[Listed], sizes: Sequence[int], column: Any
) -> Page[Listed]:
    """Load a column of the first rows of a page, at least of one, up to MAX_PAGE_BYTES."""
    number = max(bisect_right(list(accumulate(sizes)), MAX_PAGE_BYTES), 1)
    rows: list[Any] = page.rows[:number]
    table = column.class_
    statement = select(table).where(table.id.in_([row.id for row in rows]))
    # Into the rows that the session has already.
    fresh = statement.options(undefer(column)).execution_options(populate_existing=True)
    session.scalars(fresh).all()
    return Page(rows, page.has_more or number < len(page.rows))


def get_item(session: Session, run: EvalRun, item_id: str) -> EvalOutputItem:
    """Get an output item of a run. Raises NotFound."""
    statement = select(EvalOutputItem).where(
        EvalOutputItem.id == item_id, EvalOutputItem.run_id == run.id
    )
    row = session.scalars(statement.options(undefer(EvalOutputItem.content))).one_or_none()
    if row is None:
        raise NotFound(
            f"Could not find output item: {item_id}",
            param="output_item_id",
            code="output_item_not_found",
        )
    return row


def _select(project_id: str, eval_id: str, run_id: str) -> Any:
    return select(EvalRun).where(
        EvalRun.id == run_id,
        EvalRun.eval_id == eval_id,
        EvalRun.project_id == project_id,
        EvalRun.deleted_at.is_(None),
    )


def _lock(session: Session, project_id: str, eval_id: str, run_id: str) -> EvalRun:
    statement = _select(project_id, eval_id, run_id).with_for_update()
    row: EvalRun | None = session.scalars(
        statement.execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        raise _build_not_found(run_id)
    return row


def _build_not_found(run_id: str) -> NotFound:
    return NotFound(f"Could not find eval run: {run_id}", param="run_id", code="run_not_found")


def _check_open_runs(session: Session, project_id: str) -> None:
    # Concurrent requests may exceed the limits by a few.
    is_open = EvalRun.state.not_in(ENDED_RUN_STATES)
    runs = select(func.count()).where(EvalRun.project_id == project_id)
    if session.scalars(runs.where(is_open)).one() >= MAX_OPEN_RUNS:
        raise TooManyOpenRuns(
            f"This project already has its maximum of {MAX_OPEN_RUNS} unfinished eval runs. Try "
            "again when one has ended, or cancel one."
        )
    if session.scalars(runs.where(EvalRun.deleted_at.is_(None))).one() >= MAX_RUNS:
        raise InvalidRequest(
            f"This project already has its maximum of {MAX_RUNS:,} eval runs. Delete some first.",
            code="eval_limit_exceeded",
        )
