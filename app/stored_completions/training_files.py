"""Training files from stored completions: chosen, made into rows page by page, and stored.

No page is read before the rows of the page before it are written, so that a file of any size takes
the memory of one page.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

import orjson
from sqlalchemy import ColumnElement, func, or_, select, tuple_
from sqlalchemy.orm import Session

from app.db.tables import Rating, StoredCompletion
from app.errors import InvalidRequest, ServiceUnavailable
from app.files.intake import IncomingFile
from app.http.dependencies import AppState, run_autocommit
from app.stored_completions.service import CompletionFilter
from app.stored_completions.training_rows import (
    MAX_NAMED_SKIPPED,
    FeedbackFilter,
    RowKind,
    make_rows,
)
from app.wire.base import MAX_PAGE_BYTES

PAGE_ROWS = 100
CHANGED = (
    "Stored completions of this file were deleted or replaced while it was made. Nothing was "
    "stored; send the request again."
)


@dataclass(frozen=True, slots=True)
class Selection:
    """Stored completions of a project: the newest `limit` that match."""

    project_id: str
    chosen: CompletionFilter
    feedback: FeedbackFilter | None
    limit: int

    def conditions(self) -> list[ColumnElement[bool]]:
        by_project = StoredCompletion.project_id == self.project_id
        return [by_project, *self.chosen.conditions(), _match_feedback(self.feedback)]

    @property
    def row_kind(self) -> RowKind:
        is_preference = self.feedback == FeedbackFilter.PREFERENCE
        return RowKind.PREFERENCE if is_preference else RowKind.CHAT


@dataclass(slots=True)
class Written:
    """Result of the export: rows of the file by their completions, and the unused completions.

    The values of `used` are the times at which the completions were stored.
    """

    used: dict[str, datetime] = field(default_factory=dict)
    skipped: int = 0
    first_skipped: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CompletionText:
    """A completion with its texts, apart from the session that read it."""

    id: str
    created_at: datetime
    request: bytes
    response: bytes
    correction: str | None

    def to_json(self) -> dict[str, object]:
        return {
            "id": self.id,
            "request": orjson.Fragment(self.request),
            "response": orjson.Fragment(self.response),
            "correction": None if self.correction is None else orjson.Fragment(self.correction),
        }


async def write_rows(state: AppState, incoming: IncomingFile, selection: Selection) -> Written:
    """Write the rows of the selected completions, newest first.

    Raises InvalidRequest if there are none.
    """
    written = Written()
    before: CompletionText | None = None
    remaining = selection.limit
    while remaining > 0:
        read = partial(_read_page, selection=selection, before=before, limit=remaining)
        page = await run_autocommit(state, read)
        if not page:
            break
        before = page[-1]
        remaining -= len(page)
        lines = await _make_lines(state, selection, page, written)
        await incoming.consume(incoming.write, lines)
    if not written.used:
        raise InvalidRequest(_describe_nothing(selection, written))
    return written


async def _make_lines(
    state: AppState, selection: Selection, page: Sequence[CompletionText], written: Written
) -> bytes:
    """Make the lines of a page, and record what became of its completions."""
    task = {"kind": selection.row_kind, "completions": [each.to_json() for each in page]}
    result = await state.cpu_pool.call(selection.project_id, make_rows, orjson.dumps(task))
    head, _, lines = result.partition(b"\n")
    outcome = orjson.loads(head)
    times = {each.id: each.created_at for each in page}
    written.used |= {id: times[id] for id in outcome["ids"]}
    written.skipped += outcome["skipped"]
    missing = MAX_NAMED_SKIPPED - len(written.first_skipped)
    written.first_skipped += outcome["first"][:missing]
    return lines + b"\n" if lines else b""


def check_unchanged(session: Session, selection: Selection, written: Written) -> None:
    """Raise ServiceUnavailable if a completion was deleted or replaced since it was read.

    Until the transaction ends none can be deleted: whoever has deleted a text finds it in no file
    that is made later.
    """
    of_file = StoredCompletion.id.in_(list(written.used))
    statement = (
        select(StoredCompletion.id, StoredCompletion.created_at)
        .where(StoredCompletion.project_id == selection.project_id, of_file)
        .order_by(StoredCompletion.id)
        .with_for_update(read=True, key_share=True)
    )
    found = session.execute(statement).all()
    if {row.id: row.created_at for row in found} != written.used:
        raise ServiceUnavailable(CHANGED)


def _read_page(
    session: Session, selection: Selection, before: CompletionText | None, limit: int
) -> list[CompletionText]:
    """Read the completions that were stored before one, until they have MAX_PAGE_BYTES."""
    newest = (StoredCompletion.created_at.desc(), StoredCompletion.id.desc())
    position = (StoredCompletion.created_at, StoredCompletion.id)
    rows = select(*position, StoredCompletion.bytes).where(*selection.conditions())
    if before is not None:
        rows = rows.where(tuple_(*position) < (before.created_at, before.id))
    sizes = rows.order_by(*newest).limit(min(limit, PAGE_ROWS)).subquery()
    order = (sizes.c.created_at.desc(), sizes.c.id.desc())
    bytes_before = func.sum(sizes.c.bytes).over(order_by=order) - sizes.c.bytes
    page = select(sizes.c.id, bytes_before.label("bytes_before")).subquery()
    # One statement: a completion that is deleted meanwhile does not end the file.
    texts = (
        select(
            StoredCompletion.id,
            StoredCompletion.created_at,
            StoredCompletion.request,
            StoredCompletion.response,
            StoredCompletion.correction,
        )
        .join(page, page.c.id == StoredCompletion.id)
        .where(
            StoredCompletion.project_id == selection.project_id,
            page.c.bytes_before < MAX_PAGE_BYTES,
        )
        .order_by(*newest)
    )
    return [CompletionText(*row) for row in session.execute(texts)]


def _match_feedback(feedback: FeedbackFilter | None) -> ColumnElement[bool]:
    is_corrected = StoredCompletion.correction.is_not(None)
    if feedback is None:
        # A bad answer is no example, unless it is known what it should have been.
        is_bad = StoredCompletion.rating.is_not_distinct_from(Rating.BAD)
        return or_(is_corrected, ~is_bad)
    if feedback == FeedbackFilter.GOOD:
        return StoredCompletion.rating == Rating.GOOD
    return is_corrected


def _describe_nothing(selection: Selection, written: Written) -> str:
    if not written.skipped:
        return (
            "No stored chat completion matches. Completions are stored if they are created with "
            "'store': true; list them with GET /v1/chat/completions."
        )
    first = written.first_skipped[0]
    return (
        f"None of the {written.skipped} matching stored chat completion(s) can be an example. "
        f"The first is {first['id']}: {first['reason']}"
    )
