"""Feedback on stored completions: ratings, and the answers that should have been given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import select
from sqlalchemy.orm import Session, undefer

from app.db.tables import Rating, StoredCompletion
from app.errors import InvalidRequest, NotFound
from app.files import quota
from app.formats.errors import InvalidExample
from app.settings import Settings
from app.stored_completions.service import select_of
from app.stored_completions.training_rows import check_correction


@dataclass(frozen=True, slots=True)
class AnswerFeedback:
    """Feedback on one completion; None leaves what is there. `correction` is a message."""

    completion_id: str
    rating: Rating | None
    correction: Mapping[str, Any] | None


def record(
    session: Session,
    settings: Settings,
    project_id: str,
    model: str,
    items: Sequence[AnswerFeedback],
) -> int:
    """Store all items or none; return the number that changed something.

    Raises NotFound, InvalidRequest or StorageQuotaExceeded.
    """
    rows = _lock_rows(session, project_id, model, {item.completion_id for item in items})
    changed = added = 0
    seen: set[str] = set()
    for number, item in enumerate(items):
        param = f"feedback[{number}]"
        row = rows.get(item.completion_id)
        if row is None:
            raise _not_found(model, item.completion_id, param)
        if row.id in seen:
            raise InvalidRequest(
                f"The completion '{row.id}' has several items. Give its rating and its correction "
                "in one.",
                param=f"{param}.id",
            )
        seen.add(row.id)
        before = row.bytes
        changed += _apply(session, row, item, f"{param}.correction")
        added += row.bytes - before
    if added > 0:
        # Counted by the trigger when the session flushes its rows.
        session.flush()
        quota.check_declared(session, project_id, settings, size=0)
    return changed


def _lock_rows(
    session: Session, project_id: str, model: str, ids: set[str]
) -> dict[str, StoredCompletion]:
    """Find the completions of a model, with their corrections, locked in one order."""
    statement = (
        select_of(project_id)
        .where(StoredCompletion.model == model, StoredCompletion.id.in_(ids))
        .options(undefer(StoredCompletion.correction))
        .order_by(StoredCompletion.id)
        .with_for_update(key_share=True)
    )
    return {row.id: row for row in session.scalars(statement)}


def _apply(session: Session, row: StoredCompletion, item: AnswerFeedback, param: str) -> bool:
    """Change a row; false if the feedback is what it has already."""
    rating = row.rating if item.rating is None else item.rating
    correction = row.correction
    if item.correction is not None:
        _check_correction(session, row, item.correction, param)
        correction = orjson.dumps(item.correction).decode()
    if (rating, correction) == (row.rating, row.correction):
        return False
    row.bytes += _size(correction) - _size(row.correction)
    row.rating, row.correction = rating, correction
    return True


def _size(correction: str | None) -> int:
    return len((correction or "").encode())


def _check_correction(
    session: Session, row: StoredCompletion, message: Mapping[str, Any], param: str
) -> None:
    """Raise InvalidRequest unless a training file may have this answer to the request."""
    try:
        request: Mapping[str, Any] = {}
        if message.get("tool_calls"):
            # One at a time: the requests of all items may be more than fits into memory.
            text = session.scalars(
                select(StoredCompletion.request).where(
                    StoredCompletion.project_id == row.project_id, StoredCompletion.id == row.id
                )
            ).one()
            request = orjson.loads(text)
        check_correction(request, message)
    except InvalidExample as error:
        raise InvalidRequest(f"The correction{error.text}. {error.hint}", param=param) from error


def _not_found(model: str, completion_id: str, param: str) -> NotFound:
    return NotFound(
        f"No stored chat completion of the model `{model}` has the id '{completion_id}'. Ratings "
        "and corrections are taken for completions that were created with 'store': true.",
        param=f"{param}.id",
    )
