"""When each duty was last done: kept in the database, so that any process can tell of all.

A duty is whatever has to happen every so often for nothing to be lost or left lying around. One
that stops being done is noticed by nobody until its work is missed, except here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.session import SessionMaker, transaction
from app.db.tables import PeriodicTaskRun

# Rounds that may fail before a duty is late, and the time that one may take.
MAX_MISSED_RUNS = 3
MAX_RUN_SECONDS = 60


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """How a duty stands, by the database's clock."""

    name: str
    last_succeeded_at: datetime
    interval_seconds: float
    age: timedelta

    @property
    def is_late(self) -> bool:
        return self.age.total_seconds() > MAX_MISSED_RUNS * self.interval_seconds + MAX_RUN_SECONDS


def record_success(session: Session, done: Mapping[str, float]) -> None:
    """Note that duties were done just now; the seconds by name after which each is due again."""
    # In one order, or two processes could wait for each other's rows.
    rows = [
        {"name": name, "every_seconds": every, "last_succeeded_at": func.clock_timestamp()}
        for name, every in sorted(done.items())
    ]
    if not rows:
        return
    statement = insert(PeriodicTaskRun).values(rows)
    newest = {
        "every_seconds": statement.excluded.every_seconds,
        "last_succeeded_at": statement.excluded.last_succeeded_at,
    }
    session.execute(statement.on_conflict_do_update(index_elements=["name"], set_=newest))


def recording(
    sessions: SessionMaker, name: str, interval_seconds: float, work: Callable[[], object]
) -> Callable[[], None]:
    """`work`, and the note that it went well."""

    def do() -> None:
        work()
        with transaction(sessions) as session:
            record_success(session, {name: interval_seconds})

    return do


def task_statuses(session: Session) -> list[TaskStatus]:
    """All duties that were ever done, by name."""
    rows = session.execute(
        select(
            PeriodicTaskRun.name,
            PeriodicTaskRun.last_succeeded_at,
            PeriodicTaskRun.every_seconds,
            func.clock_timestamp() - PeriodicTaskRun.last_succeeded_at,
        ).order_by(PeriodicTaskRun.name)
    )
    return [TaskStatus(*row) for row in rows]
