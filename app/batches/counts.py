"""Counts and usage of batches: from their ranges, and from their own row once they have ended."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sqlalchemy import BigInteger, cast, func, select
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
    sums = [
        func.coalesce(func.sum(cast(WorkRange.totals[total.value].as_string(), BigInteger)), 0)
        for total in Total
    ]
    rows = session.execute(
        select(WorkRange.list_id, func.sum(WorkRange.succeeded), func.sum(WorkRange.failed), *sums)
        .where(WorkRange.list_id.in_(batch_ids))
        .group_by(WorkRange.list_id)
    )
    return {
        batch_id: Counts(
            completed, failed, {total.value: int(n) for total, n in zip(Total, tokens, strict=True)}
        )
        for batch_id, completed, failed, *tokens in rows
    }


def _read_counts(row: Batch) -> Counts:
    tokens = {total.value: getattr(row, total.value) for total in Total}
    return Counts(row.num_completed, row.num_failed, tokens)
