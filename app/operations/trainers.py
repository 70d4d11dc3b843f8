"""The trainers that are there: each says every few seconds whether it takes jobs."""

from collections import Counter
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import Worker

UNHEALTHY = "unhealthy"
# Heartbeats that a trainer may miss before it is taken for gone.
MISSED = 3
KEPT = timedelta(hours=1)


def announce(session: Session, name: str, *, state: str) -> None:
    """Say that the trainer `name` is there, "active", "draining" or "unhealthy"."""
    row = insert(Worker).values(name=name, state=state)
    news = {"state": row.excluded.state, "heartbeat_at": func.clock_timestamp()}
    session.execute(row.on_conflict_do_update(index_elements=["name"], set_=news))


def by_state(session: Session, *, heartbeat_seconds: float) -> Counter[str]:
    """How many trainers are there, by state."""
    since = clock.ago(timedelta(seconds=MISSED * heartbeat_seconds))
    return Counter(session.scalars(select(Worker.state).where(Worker.heartbeat_at > since)))


def trouble(session: Session, *, heartbeat_seconds: float) -> str | None:
    """A sentence if trainers are there that take no jobs because jobs crash on them."""
    states = by_state(session, heartbeat_seconds=heartbeat_seconds)
    if not states[UNHEALTHY]:
        return None
    return (
        f"{states[UNHEALTHY]} of {states.total()} trainers take no jobs for now, since different "
        "jobs crashed there one after the other. The trainer's log names them; see its disk, "
        "memory and accelerator."
    )


def prune(session: Session) -> None:
    """Forget the trainers that are long gone."""
    session.execute(delete(Worker).where(Worker.heartbeat_at < clock.ago(KEPT)))
