"""Deletion of the rows of evals that were deleted long ago."""

from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import Eval


def delete_rows(session: Session, *, days: float, limit: int) -> int:
    """Delete a batch of rows of deleted evals; return their number."""
    old = select(Eval.id).where(Eval.deleted_at < clock.subtract_from_now(timedelta(days=days)))
    batch = old.limit(limit).with_for_update(skip_locked=True)
    rows = session.scalars(delete(Eval).where(Eval.id.in_(batch)).returning(Eval.id))
    return len(rows.all())
