"""Deletion of batches that ended long ago; their files have lifetimes of their own."""

from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import Batch


def delete_batches(session: Session, *, days: float, limit: int) -> int:
    """Delete some of the batches that ended more than `days` ago; return their number."""
    ended = (
        select(Batch.id)
        .where(Batch.ended_at < clock.subtract_from_now(timedelta(days=days)))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    deleted = delete(Batch).where(Batch.id.in_(ended)).returning(Batch.id)
    return len(session.scalars(deleted).all())
