"""Append-only events of a job for its owner: numbered without gaps, deduplicated by key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Integer, cast, func, insert, select, update
from sqlalchemy.orm import Session

from app import ids
from app.db.tables import EventLevel, EventType, Job, JobEvent

# Key of an event about a step. An attempt that repeats the step reports the same numbers.
STEP_KEY = r"^(?:step|checkpoint):(\d+)$"


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


def has_key(session: Session, job_id: str, key: str) -> bool:
    """True if the job has an event with this key."""
    return key in _find_existing_keys(session, job_id, [key])


def release_keys_after(session: Session, job: Job, step: int, *, before_attempt: int) -> None:
    """Let `before_attempt` and later ones append events about the steps after `step`.

    Their numbers differ from those that earlier attempts reported. The events so far stay, under
    another key.
    """
    step_of_key = cast(func.substring(JobEvent.dedupe_key, STEP_KEY), Integer)
    is_earlier = (JobEvent.job_id == job.id, JobEvent.attempt < before_attempt)
    key = func.concat("attempt-", JobEvent.attempt, ":", JobEvent.dedupe_key)
    session.execute(
        update(JobEvent)
        .where(*is_earlier, step_of_key > step)
        .values(dedupe_key=key)
        .execution_options(synchronize_session=False)
    )


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
