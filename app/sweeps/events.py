"""Append-only events of a sweep for its owner, numbered without gaps."""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import ids
from app.db.tables import EventLevel, Sweep, SweepEvent


def append(
    session: Session,
    sweep: Sweep,
    message: str,
    *,
    level: EventLevel = EventLevel.INFO,
    **data: Any,
) -> None:
    """Append an event. The caller's transaction holds the lock on the sweep's row."""
    last = select(func.coalesce(func.max(SweepEvent.seq), 0))
    seq = session.scalars(last.where(SweepEvent.sweep_id == sweep.id)).one() + 1
    session.add(
        SweepEvent(
            id=ids.event_id(),
            sweep_id=sweep.id,
            seq=seq,
            level=level,
            message=message,
            data=data,
        )
    )
    session.flush()


def append_unless_last(session: Session, sweep: Sweep, message: str) -> None:
    """Append an event about something that goes on, unless it is the newest one already."""
    newest = (
        select(SweepEvent.message)
        .where(SweepEvent.sweep_id == sweep.id)
        .order_by(SweepEvent.seq.desc())
        .limit(1)
    )
    if session.scalar(newest) != message:
        append(session, sweep, message)
