"""Costs by day: token usage and training, times the operator's prices."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from sqlalchemy import BigInteger, DateTime, cast, func, select, union_all
from sqlalchemy.orm import Session

from app.db.tables import MonthlyTrainingUsage, Project, TrainingUsage
from app.usage.ledger import UsageCounts
from app.usage.prices import LineItem, Prices
from app.usage.query import UsageFilter, sum_usage
from app.usage.time_buckets import TimeRange

GROUPS = ("project_id", "api_key_id", "line_item")
LIVE = (LineItem.INPUT, LineItem.CACHED_INPUT, LineItem.OUTPUT)
BATCH = (LineItem.BATCH_INPUT, LineItem.BATCH_CACHED_INPUT, LineItem.BATCH_OUTPUT)


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a group in a bucket; `tokens` counts those that were paid for."""

    bucket: int
    values: dict[str, str | None]
    amount: Decimal
    tokens: int


@dataclass(frozen=True, slots=True)
class _Item:
    bucket: int
    model: str
    item: LineItem
    tokens: int
    project_id: str
    # Of training it is not known.
    api_key_id: str | None = None

    @property
    def line_item(self) -> str:
        return f"{self.model}, {self.item}"

    def value(self, name: str) -> str | None:
        value: str | None = getattr(self, name)
        return value


def sum_costs(
    session: Session,
    chosen: UsageFilter,
    times: TimeRange,
    group_by: Sequence[str],
    prices: Prices,
    line_items: Sequence[str] = (),
) -> list[Cost]:
    """Sum costs by bucket and group, of `line_items` only if there are any."""
    costs: dict[tuple[int, tuple[str | None, ...]], Cost] = {}
    for item in _list_items(session, chosen, times):
        if line_items and item.line_item not in line_items:
            continue
        values = {name: item.value(name) for name in group_by}
        key = (item.bucket, tuple(values.values()))
        so_far = costs.get(key, Cost(item.bucket, values, Decimal(0), 0))
        amount = so_far.amount + prices.cost(item.model, item.item, item.tokens)
        costs[key] = Cost(item.bucket, values, amount, so_far.tokens + item.tokens)
    return list(costs.values())


def _list_items(session: Session, chosen: UsageFilter, times: TimeRange) -> Iterator[_Item]:
    groups = sum_usage(session, chosen, times, ("project_id", "api_key_id", "model", "batch"))
    for group in groups:
        names = {name: str(group.values[name]) for name in ("project_id", "model")}
        key_id = str(group.values["api_key_id"]) or None
        items = BATCH if group.values["batch"] else LIVE
        for item, tokens in zip(items, _paid_tokens(group.counts), strict=True):
            if tokens:
                yield _Item(group.bucket, item=item, tokens=tokens, api_key_id=key_id, **names)
    # What a key trained is not known, so nothing of it belongs to certain keys.
    if not chosen.api_key_ids:
        yield from _list_training(session, chosen, times)


def _paid_tokens(counts: UsageCounts) -> tuple[int, int, int]:
    return counts.input_tokens - counts.cached_tokens, counts.cached_tokens, counts.output_tokens


def _list_training(session: Session, chosen: UsageFilter, times: TimeRange) -> Iterator[_Item]:
    """Training of succeeded jobs; of deleted ones, on the first day of their month."""
    jobs = select(
        TrainingUsage.project_id,
        TrainingUsage.base_model,
        TrainingUsage.trained_tokens,
        TrainingUsage.created_at.label("trained_at"),
    )
    months = select(
        MonthlyTrainingUsage.project_id,
        MonthlyTrainingUsage.base_model,
        MonthlyTrainingUsage.trained_tokens,
        func.timezone("UTC", cast(MonthlyTrainingUsage.month, DateTime)),
    )
    trained = union_all(jobs, months).subquery()
    epoch = cast(func.floor(func.extract("epoch", trained.c.trained_at)), BigInteger)
    bucket = (epoch // times.width).label("bucket")
    own = select(Project.id).where(Project.organization_id == chosen.organization_id)
    conditions = [
        trained.c.project_id.in_(own),
        trained.c.trained_at >= datetime.fromtimestamp(times.start, UTC),
        trained.c.trained_at < datetime.fromtimestamp(times.end, UTC),
    ]
    if chosen.project_ids:
        conditions.append(trained.c.project_id.in_(chosen.project_ids))
    columns = (bucket, trained.c.project_id, trained.c.base_model)
    query = select(*columns, func.sum(trained.c.trained_tokens)).where(*conditions)
    for row in session.execute(query.group_by(*columns).order_by(*columns)):
        number, project_id, model, tokens = row
        yield _Item(number, model, LineItem.TRAINING, int(tokens), project_id)
