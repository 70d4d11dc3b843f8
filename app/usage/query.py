"""Sums of token usage by time bucket, and by what a request groups by."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, cast, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.db.tables import Project, TokenUsage, UsageKind
from app.usage.ledger import UsageCounts
from app.usage.time_buckets import TimeRange

# Fields that usage can be grouped by, and their columns.
GROUP_COLUMNS: dict[str, InstrumentedAttribute[Any]] = {
    "project_id": TokenUsage.project_id,
    "api_key_id": TokenUsage.api_key_id,
    "model": TokenUsage.model,
    "batch": TokenUsage.is_batch,
    "kind": TokenUsage.kind,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageFilter:
    """Filter of usage of an organization's projects; empty collections filter nothing."""

    organization_id: str
    kinds: Collection[UsageKind] = ()
    project_ids: Collection[str] = ()
    api_key_ids: Collection[str] = ()
    models: Collection[str] = ()
    batch: bool | None = None


@dataclass(frozen=True, slots=True)
class UsageGroup:
    """The sum of a group in a bucket; `values` has the fields that it is grouped by."""

    bucket: int
    values: dict[str, object]
    counts: UsageCounts


def sum_usage(
    session: Session, chosen: UsageFilter, times: TimeRange, group_by: Sequence[str]
) -> list[UsageGroup]:
    """Sum usage by bucket and group. Groups without requests are left out."""
    epoch = cast(func.floor(func.extract("epoch", TokenUsage.started_at)), BigInteger)
    bucket = (epoch // times.width).label("bucket")
    columns = [GROUP_COLUMNS[name].label(name) for name in group_by]
    projects = select(Project.id).where(Project.organization_id == chosen.organization_id)
    conditions = [
        TokenUsage.project_id.in_(projects),
        TokenUsage.started_at >= _to_datetime(times.start),
        TokenUsage.started_at < _to_datetime(times.end),
    ]
    wanted = (
        (TokenUsage.kind, chosen.kinds),
        (TokenUsage.project_id, chosen.project_ids),
        (TokenUsage.api_key_id, chosen.api_key_ids),
        (TokenUsage.model, chosen.models),
    )
    conditions += [column.in_(values) for column, values in wanted if values]
    if chosen.batch is not None:
        conditions.append(TokenUsage.is_batch.is_(chosen.batch))
    sums = [
        func.sum(column)
        for column in (
            TokenUsage.requests,
            TokenUsage.input_tokens,
            TokenUsage.cached_tokens,
            TokenUsage.output_tokens,
        )
    ]
    rows = session.execute(
        select(bucket, *columns, *sums)
        .where(*conditions)
        .group_by(bucket, *columns)
        .order_by(bucket, *columns)
    ).all()
    return [_build_group(tuple(row), group_by) for row in rows]


def _build_group(row: tuple[Any, ...], group_by: Sequence[str]) -> UsageGroup:
    bucket, *rest = row
    values, sums = rest[: len(group_by)], rest[len(group_by) :]
    # A sum of bigints is numeric.
    counts = UsageCounts(*(int(each) for each in sums))
    return UsageGroup(int(bucket), dict(zip(group_by, values, strict=True)), counts)


def _to_datetime(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
