"""Deletion of responses that were stored long ago, or whose project is archived."""

from datetime import timedelta

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import UNFINISHED_RESPONSE_STATES, Project, StoredResponse


def delete_old(session: Session, *, days: float, limit: int) -> int:
    """Delete a batch of responses that were created more than `days` ago."""
    return _delete(session, StoredResponse.created_at < _before(days), limit)


def delete_of_archived(session: Session, *, days: float, limit: int) -> int:
    """Delete a batch of responses of projects that were archived more than `days` ago."""
    archived = select(Project.id).where(Project.archived_at < _before(days))
    return _delete(session, StoredResponse.project_id.in_(archived), limit)


def _before(days: float) -> ColumnElement[object]:
    return clock.subtract_from_now(timedelta(days=days))


def _delete(session: Session, condition: ColumnElement[bool], limit: int) -> int:
    is_done = StoredResponse.state.not_in(UNFINISHED_RESPONSE_STATES)
    batch = select(StoredResponse.id).where(condition, is_done).limit(limit)
    locked = batch.with_for_update(skip_locked=True)
    statement = delete(StoredResponse).where(StoredResponse.id.in_(locked))
    return len(session.scalars(statement.returning(StoredResponse.id)).all())
