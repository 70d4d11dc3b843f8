"""The trainers that are there: each says every few seconds whether it takes jobs."""

from collections import Counter
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import TrainerProcess

UNHEALTHY = "unhealthy"
# Heartbeats that a trainer may miss before it is taken for gone.
MAX_MISSED_HEARTBEATS = 3
RETENTION = timedelta(hours=1)


def heartbeat(session: Session, name: str, *, state: str) -> None:
    """Say that the trainer `name` is there, "active", "draining" or "unhealthy"."""
    row = insert(TrainerProcess).values(name=name, state=state)
    news = {"state": row.excluded.state, "heartbeat_at": func.clock_timestamp()}
    session.execute(row.on_conflict_do_update(index_elements=["name"], set_=news))


def count_by_state(session: Session, *, heartbeat_seconds: float) -> Counter[str]:
    """How many trainers are there, by state."""
    since = clock.ago(timedelta(seconds=MAX_MISSED_HEARTBEATS * heartbeat_seconds))
    return Counter(
        session.scalars(select(TrainerProcess.state).where(TrainerProcess.heartbeat_at > since))
    )


def health_problem(session: Session, *, heartbeat_seconds: float) -> str | None:
    """A sentence if trainers are there that take no jobs because jobs crash on them."""
    states = count_by_state(session, heartbeat_seconds=heartbeat_seconds)
    if not states[UNHEALTHY]:
        return None
    return (
        f"{states[UNHEALTHY]} of {states.total()} trainers take no jobs for now, since different "
        "jobs crashed there one after the other. The trainer's log names them; see its disk, "
        "memory and accelerator."
    )


def prune(session: Session) -> None:
    """Forget the trainers that are long gone."""
    session.execute(
        delete(TrainerProcess).where(TrainerProcess.heartbeat_at < clock.ago(RETENTION))
    )
