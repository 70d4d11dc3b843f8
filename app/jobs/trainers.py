"""Live trainers, which report their state with a heartbeat every few seconds."""

from collections import Counter
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import TrainerProcess, TrainerState

# A trainer that missed this many heartbeats counts as dead.
MAX_MISSED_HEARTBEATS = 3
RETENTION = timedelta(hours=1)


def record_heartbeat(session: Session, name: str, *, state: TrainerState) -> None:
    """Record that the trainer `name` is alive, and its state."""
    row = insert(TrainerProcess).values(name=name, state=state)
    changes = {"state": row.excluded.state, "heartbeat_at": func.clock_timestamp()}
    session.execute(row.on_conflict_do_update(index_elements=["name"], set_=changes))


def count_by_state(session: Session, *, heartbeat_seconds: float) -> Counter[TrainerState]:
    """Count live trainers by state."""
    is_live = TrainerProcess.heartbeat_at > find_oldest_heartbeat(heartbeat_seconds)
    return Counter(session.scalars(select(TrainerProcess.state).where(is_live)))


def find_oldest_heartbeat(heartbeat_seconds: float) -> ColumnElement[datetime]:
    """Build the expression of the oldest heartbeat that a live trainer may have."""
    return clock.subtract_from_now(timedelta(seconds=MAX_MISSED_HEARTBEATS * heartbeat_seconds))


def find_health_problem(session: Session, *, heartbeat_seconds: float) -> str | None:
    """Describe live trainers whose circuit breaker is open; None if all take jobs."""
    counts = count_by_state(session, heartbeat_seconds=heartbeat_seconds)
    if not counts[TrainerState.UNHEALTHY]:
        return None
    return (
        f"{counts[TrainerState.UNHEALTHY]} of {counts.total()} trainers have stopped taking jobs "
        "for now, because several different jobs crashed on them in a row. Check the trainer's "
        "log, and its disk, memory and accelerator."
    )


def prune(session: Session) -> None:
    """Delete the rows of trainers that died before the retention time."""
    session.execute(
        delete(TrainerProcess).where(
            TrainerProcess.heartbeat_at < clock.subtract_from_now(RETENTION)
        )
    )
