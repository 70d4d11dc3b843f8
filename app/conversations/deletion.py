"""Deletion of conversations that nobody has changed for long, or whose project is archived."""

from datetime import timedelta

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import Conversation, Project


def delete_unchanged(session: Session, *, days: float, limit: int) -> int:
    """Delete a batch of conversations that were last changed more than `days` ago."""
    return _delete(session, Conversation.updated_at < _before(days), limit)


def delete_of_archived(session: Session, *, days: float, limit: int) -> int:
    """Delete a batch of conversations of projects that were archived more than `days` ago."""
    archived = select(Project.id).where(Project.archived_at < _before(days))
    return _delete(session, Conversation.project_id.in_(archived), limit)


def _before(days: float) -> ColumnElement[object]:
    return clock.subtract_from_now(timedelta(days=days))


def _delete(session: Session, condition: ColumnElement[bool], limit: int) -> int:
    # Skipped where somebody changes it now: it is not unchanged any more.
    batch = select(Conversation.id).where(condition).limit(limit)
    locked = batch.with_for_update(skip_locked=True)
    statement = delete(Conversation).where(Conversation.id.in_(locked))
    return len(session.scalars(statement.returning(Conversation.id)).all())
