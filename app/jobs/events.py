"""Append-only events of a job for its owner: numbered without gaps, deduplicated by key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from app import ids
from app.db.tables import EventLevel, EventType, Job, JobEvent


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to append. A job has at most one event per `dedupe_key`."""

    dedupe_key: str
    message: str
    level: EventLevel = EventLevel.INFO
    type: EventType = EventType.MESSAGE
    data: Mapping[str, Any] | None = field(default_factory=dict)


def append(session: Session, job: Job, new_events: Sequence[NewEvent]) -> None:
    """Append the events whose key the job does not have yet.

    The caller's transaction must hold the lock on the job's row, which `states.transition` and
    `states.lock_for_attempt` take: two concurrent writers would otherwise assign the same numbers.
    """
    known = _find_existing_keys(session, job.id, [event.dedupe_key for event in new_events])
    fresh = [event for event in new_events if event.dedupe_key not in known]
    if not fresh:
        return
    first = _get_last_seq(session, job.id) + 1
    rows = [_build_row_values(job, event, seq) for seq, event in enumerate(fresh, first)]
    session.execute(insert(JobEvent), rows)


def _find_existing_keys(session: Session, job_id: str, keys: Sequence[str]) -> set[str]:
    statement = select(JobEvent.dedupe_key).where(
        JobEvent.job_id == job_id, JobEvent.dedupe_key.in_(keys)
    )
    return set(session.scalars(statement))


def _get_last_seq(session: Session, job_id: str) -> int:
    last = select(func.coalesce(func.max(JobEvent.seq), 0)).where(JobEvent.job_id == job_id)
    return session.scalars(last).one()


def _build_row_values(job: Job, event: NewEvent, seq: int) -> dict[str, Any]:
    return {
        "id": ids.event_id(),
        "job_id": job.id,
        "seq": seq,
        "attempt": job.attempt,
        "dedupe_key": event.dedupe_key,
        "level": event.level,
        "type": event.type,
        "message": event.message,
        "data": None if event.data is None else dict(event.data),
    }
