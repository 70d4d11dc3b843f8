"""The events of a job: what users read, in an order without gaps, each effect once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from app import ids
from app.db.tables import Job, JobEvent


@dataclass(frozen=True, slots=True)
class NewEvent:
    """One event to be. A job has one event per `key`, however often the effect is told."""

    dedupe_key: str
    message: str
    level: Literal["info", "warn", "error"] = "info"
    type: Literal["message", "metrics"] = "message"
    data: Mapping[str, Any] | None = field(default_factory=dict)


def append(session: Session, job: Job, new_events: Sequence[NewEvent]) -> None:
    """Add the entries whose effect was not told yet.

    The caller's transaction must hold the lock on the job's row (every move and `moves.guard` take
    it): two writers at once would otherwise number their events alike.
    """
    known = _find_existing_keys(session, job.id, [entry.dedupe_key for entry in new_events])
    fresh = [entry for entry in new_events if entry.dedupe_key not in known]
    if not fresh:
        return
    first = _get_last_seq(session, job.id) + 1
    rows = [_row_values(job, entry, seq) for seq, entry in enumerate(fresh, first)]
    session.execute(insert(JobEvent), rows)


def _find_existing_keys(session: Session, job_id: str, keys: Sequence[str]) -> set[str]:
    statement = select(JobEvent.dedupe_key).where(
        JobEvent.job_id == job_id, JobEvent.dedupe_key.in_(keys)
    )
    return set(session.scalars(statement))


def _get_last_seq(session: Session, job_id: str) -> int:
    last = select(func.coalesce(func.max(JobEvent.seq), 0)).where(JobEvent.job_id == job_id)
    return session.scalars(last).one()


def _row_values(job: Job, entry: NewEvent, seq: int) -> dict[str, Any]:
    return {
        "id": ids.event_id(),
        "job_id": job.id,
        "seq": seq,
        "epoch": job.epoch,
        "dedupe_key": entry.dedupe_key,
        "level": entry.level,
        "type": entry.type,
        "message": entry.message,
        "data": None if entry.data is None else dict(entry.data),
    }
