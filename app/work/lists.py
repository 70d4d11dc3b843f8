"""Lists of items: create, start, stop and end them."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.orm import Session

from app.db import outbox
from app.db.tables import WorkerTask, WorkList, WorkPhase, WorkRange, WorkResult, WorkStop
from app.db.tables.work import IS_STOPPABLE
from app.work.kinds import PlannedRange

STOPPABLE_PHASES = (WorkPhase.PLANNING, WorkPhase.RUNNING)
BATCH_SIZE = 100


def create(
    session: Session,
    list_id: str,
    *,
    kind: str,
    project_id: str,
    expires_at: datetime | Any = None,
) -> None:
    """Create a list to be planned, and notify the workers."""
    session.add(
        WorkList(
            id=list_id,
            project_id=project_id,
            kind=kind,
            phase=WorkPhase.PLANNING,
            expires_at=expires_at,
        )
    )
    session.flush()
    outbox.enqueue_notification(session, WorkerTask.WORK, list_id)


def start(session: Session, list_id: str, ranges: Iterable[PlannedRange]) -> None:
    """Add the ranges of a list that is being planned. Without any it is finished at once.

    The caller has locked the list, or has just created it.
    """
    rows = [
        {
            "list_id": list_id,
            "first_index": each.first_index,
            "end_index": each.end_index,
            "source": dict(each.source),
        }
        for each in ranges
    ]
    if rows:
        session.execute(insert(WorkRange), rows)
    _set_phase(session, list_id, WorkPhase.RUNNING if rows else WorkPhase.FINISHING)
    outbox.enqueue_notification(session, WorkerTask.WORK, list_id)


def lock(session: Session, list_id: str) -> WorkList | None:
    """Lock the row of a list, before that of what it is for; None if there is none any more."""
    statement = select(WorkList).where(WorkList.id == list_id).with_for_update()
    return session.scalars(statement.execution_options(populate_existing=True)).one_or_none()


def stop(session: Session, list_id: str, reason: WorkStop, message: str | None = None) -> bool:
    """Stop a list: all leases are lost, and it is finished with the results that it has.

    False if it is being finished already, or has ended.
    """
    row = lock(session, list_id)
    if row is None or row.phase not in STOPPABLE_PHASES:
        return False
    row.stop_reason, row.stop_message = reason, message
    _set_phase(session, list_id, WorkPhase.FINISHING)
    session.execute(
        update(WorkRange)
        .where(WorkRange.list_id == list_id, WorkRange.done_at.is_(None))
        .values(attempt=WorkRange.attempt + 1, lease_until=None)
    )
    outbox.enqueue_notification(session, WorkerTask.WORK, list_id)
    return True


def end(session: Session, list_id: str) -> None:
    """End a list, and keep its results."""
    _set_phase(session, list_id, WorkPhase.ENDED)


def delete_list(session: Session, list_id: str) -> None:
    """Delete a list with its results, and enqueue the deletion of what its ranges have stored."""
    keys = select(WorkRange.storage_key).where(
        WorkRange.list_id == list_id, WorkRange.storage_key.is_not(None)
    )
    for key in session.scalars(keys):
        if key is not None:
            outbox.enqueue_blob_deletion(session, key)
    # The ranges before the list, whose project their trigger counts the bytes to.
    for table in (WorkResult, WorkRange):
        session.execute(delete(table).where(table.list_id == list_id))
    session.execute(delete(WorkList).where(WorkList.id == list_id))


def find_expired(session: Session) -> Sequence[str]:
    """Find lists whose time is over."""
    expired = (
        select(WorkList.id)
        .where(text(IS_STOPPABLE), WorkList.expires_at < func.statement_timestamp())
        .order_by(WorkList.expires_at)
        .limit(BATCH_SIZE)
    )
    return session.scalars(expired).all()


def _set_phase(session: Session, list_id: str, phase: WorkPhase) -> None:
    """Go on to a phase. What held a lease on the last one has lost it."""
    session.execute(
        update(WorkList)
        .where(WorkList.id == list_id)
        .values(phase=phase, attempt=WorkList.attempt + 1, lease_until=None, failures=0)
    )
