"""Counts and usage of batches: from their ranges, and from their own row once they have ended."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.tables import ENDED_BATCH_STATES, Batch, WorkRange


class Total(StrEnum):
    """Sums of a range's answers, by the name of the batch's column."""

    INPUT = "input_tokens"
    CACHED = "cached_tokens"
    OUTPUT = "output_tokens"
    REASONING = "reasoning_tokens"


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests answered with success and otherwise, and sums of the answers' usage."""

    completed: int = 0
    failed: int = 0
    tokens: Mapping[str, int] = field(default_factory=dict)


def count(session: Session, batches: Iterable[Batch]) -> dict[str, Counts]:
    """Count each batch, by its id."""
    rows = list(batches)
    running = [row.id for row in rows if row.state not in ENDED_BATCH_STATES]
    of_ranges = _count_ranges(session, running)
    return {row.id: of_ranges.get(row.id) or _read_counts(row) for row in rows}


def count_ranges(session: Session, batch_id: str) -> Counts:
    """Count a batch from its ranges."""
    return _count_ranges(session, [batch_id]).get(batch_id, Counts())


def _count_ranges(session: Session, batch_ids: list[str]) -> dict[str, Counts]:
    if not batch_ids:
        return {}
    columns = (WorkRange.list_id, WorkRange.succeeded, WorkRange.failed, WorkRange.totals)
    found: dict[str, Counts] = {}
    for batch_id, succeeded, failed, totals in session.execute(
        select(*columns).where(WorkRange.list_id.in_(batch_ids))
    ):
        counts = found.get(batch_id, Counts())
        tokens = Counter(counts.tokens)
        tokens.update(totals)
        found[batch_id] = Counts(counts.completed + succeeded, counts.failed + failed, tokens)
    return found


def _read_counts(row: Batch) -> Counts:
    tokens = {total.value: getattr(row, total.value) for total in Total}
    return Counts(row.num_completed, row.num_failed, tokens)
