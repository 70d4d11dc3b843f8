"""Ledger of token usage: counts of finished requests, added to their minute and folded into hours.

Processes of the API count in memory and write every two seconds; work that has a transaction of its
own adds its counts there, so that each is counted once. A killed process loses at most what it has
not written yet.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import TokenUsage, UsageKind

# Older minutes are folded into their hour: a year of them would be millions of rows.
MINUTES_RETENTION = timedelta(days=8)
KEY_COLUMNS = ("started_at", "project_id", "api_key_id", "model", "kind", "is_batch")
COUNT_COLUMNS = ("requests", "input_tokens", "cached_tokens", "output_tokens")


@dataclass(frozen=True, slots=True, order=True)
class UsageKey:
    """Key of a usage counter within its time bucket."""

    project_id: str
    api_key_id: str
    # A base model's id, or a fine-tuned model's name.
    model: str
    kind: UsageKind
    is_batch: bool = False


@dataclass(frozen=True, slots=True)
class UsageCounts:
    """Tokens of requests. `input_tokens` includes those read from the prefix cache."""

    requests: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: "UsageCounts") -> "UsageCounts":
        return UsageCounts(
            self.requests + other.requests,
            self.input_tokens + other.input_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
        )


UsageByKey = dict[UsageKey, UsageCounts]


def merge(usage: UsageByKey, other: Mapping[UsageKey, UsageCounts]) -> None:
    """Add `other` to `usage`."""
    for key, counts in other.items():
        usage[key] = usage.get(key, UsageCounts()) + counts


def record(session: Session, usage: Mapping[UsageKey, UsageCounts]) -> None:
    """Add usage to the current minute, by the database's clock."""
    if usage:
        now = func.date_trunc("minute", func.clock_timestamp(), "UTC")
        minute = session.scalars(select(now)).one()
        _add(session, {(minute, key): counts for key, counts in usage.items()})


def fold_minutes(session: Session, *, limit: int) -> int:
    """Add the oldest `limit` rows of old minutes to their hours; return how many there were."""
    hour = func.date_trunc("hour", TokenUsage.started_at, "UTC")
    rows = session.scalars(
        select(TokenUsage)
        .where(
            TokenUsage.started_at < clock.subtract_from_now(MINUTES_RETENTION),
            TokenUsage.started_at != hour,
        )
        .order_by(*KEY_COLUMNS)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    hours: dict[tuple[datetime, UsageKey], UsageCounts] = {}
    for row in rows:
        start = row.started_at.astimezone(UTC).replace(minute=0)
        key = UsageKey(row.project_id, row.api_key_id, row.model, row.kind, row.is_batch)
        counts = UsageCounts(row.requests, row.input_tokens, row.cached_tokens, row.output_tokens)
        hours[start, key] = hours.get((start, key), UsageCounts()) + counts
        session.delete(row)
    session.flush()
    _add(session, hours)
    return len(rows)


def _add(session: Session, usage: Mapping[tuple[datetime, UsageKey], UsageCounts]) -> None:
    if not usage:
        return
    # A fixed order, so that two processes that add to the same rows cannot deadlock.
    rows = [
        {"started_at": start, **asdict(key), **asdict(counts)}
        for (start, key), counts in sorted(usage.items(), key=lambda item: item[0])
    ]
    statement = insert(TokenUsage).values(rows)
    total = {
        column: TokenUsage.__table__.c[column] + statement.excluded[column]
        for column in COUNT_COLUMNS
    }
    session.execute(statement.on_conflict_do_update(index_elements=KEY_COLUMNS, set_=total))
