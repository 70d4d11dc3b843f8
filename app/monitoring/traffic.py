"""What tuned models are asked, counted by model and hour: numbers only, and as many rows as hours.

Counts are added up in memory first (`Traffic`), and brought into the database a batch at a time,
which several processes may do at once.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import ModelTrafficHour, Prediction
from app.histogram_bins import DURATION_BINS, BinCounts
from app.wire.engine_metadata import EngineMetadata

HOURLY_COUNTS_RETENTION = timedelta(days=90)
PREDICTIONS_RETENTION = timedelta(days=7)
# Of each model; more would let one busy model fill the disk.
MAX_PREDICTIONS_PER_MODEL = 100_000
# Of one batch: while the database is away they must not fill the memory.
MAX_PENDING_PREDICTIONS = 10_000

# answered; refused (the client's fault); failed (ours); left (the client did not wait for it)
RequestOutcome = Literal["answered", "refused", "failed", "left"]
# How often the bins of each measure were hit; bins are texts, since JSON's keys are.
TrafficCounts = dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedRequest:
    """One request to a tuned model, and how it ended after so many seconds."""

    model: str
    request_id: str
    outcome: RequestOutcome
    duration_seconds: float
    metadata: EngineMetadata | None


@dataclass(slots=True)
class TrafficBatch:
    """Requests that wait to be recorded. `dropped` counts the answers that feedback cannot name."""

    counts_by_model: dict[str, TrafficCounts] = field(default_factory=dict)
    predictions: list[ServedRequest] = field(default_factory=list)
    dropped_predictions: int = 0

    def add(self, asked: ServedRequest) -> None:
        tally = self.counts_by_model.setdefault(asked.model, {})
        increment(tally, "requests", asked.outcome)
        seen = asked.metadata
        if asked.outcome != "answered":
            return
        increment(tally, "seconds", DURATION_BINS.bin_index(asked.duration_seconds))
        if seen is None:
            return
        _add_metadata(tally, seen)
        if not seen.found:
            return
        if len(self.predictions) < MAX_PENDING_PREDICTIONS:
            self.predictions.append(asked)
        else:
            self.dropped_predictions += 1

    def requeue(self, earlier: "TrafficBatch") -> None:
        """Take over what could not be recorded."""
        for model, tally in earlier.counts_by_model.items():
            add_counts(self.counts_by_model.setdefault(model, {}), tally)
        room = MAX_PENDING_PREDICTIONS - len(self.predictions)
        self.predictions += earlier.predictions[:room]
        self.dropped_predictions += earlier.dropped_predictions + max(
            0, len(earlier.predictions) - room
        )


def _add_metadata(tally: TrafficCounts, seen: EngineMetadata) -> None:
    increment(tally, "sums", "texts", seen.texts)
    increment(tally, "sums", "tokens", seen.tokens)
    increment(tally, "sums", "unlabelled", seen.unlabelled)
    for measure in ("lengths", "unknown", "confidence", "labels"):
        counts: BinCounts = getattr(seen, measure)
        for place, times in counts.items():
            increment(tally, measure, place, times)


def increment(tally: TrafficCounts, measure: str, place: object, times: int = 1) -> None:
    """Add to one bin of a measure."""
    bins = tally.setdefault(measure, {})
    bins[str(place)] = bins.get(str(place), 0) + times


def add_counts(tally: TrafficCounts, other: Mapping[str, Mapping[str, int]]) -> None:
    """Add all bins of another tally."""
    for measure, bins in other.items():
        for place, times in bins.items():
            increment(tally, measure, place, times)


def record_batch(session: Session, traffic: TrafficBatch) -> None:
    """Bring a batch into the database, under the hour that it is there."""
    hour = session.scalars(select(_current_hour())).one()
    add_to_hourly_counts(
        session, {(model, hour): tally for model, tally in traffic.counts_by_model.items()}
    )
    rows = [
        {
            "request_id": asked.request_id,
            "model": asked.model,
            "answer_id": asked.metadata.answer_id,
            "found": asked.metadata.found,
            "truth": [None] * len(asked.metadata.found),
        }
        for asked in traffic.predictions
        if asked.metadata is not None and asked.metadata.found is not None
    ]
    if rows:
        session.execute(insert(Prediction).on_conflict_do_nothing(), rows)


def add_to_hourly_counts(
    session: Session, tallies: Mapping[tuple[str, datetime], TrafficCounts]
) -> None:
    """Add counts to those of models and hours; they may be negative."""
    # In one order, so that two processes never wait for each other's rows.
    for (model, hour), tally in sorted(tallies.items(), key=lambda pair: pair[0]):
        new = insert(ModelTrafficHour).values(model=model, hour=hour, counts={})
        session.execute(new.on_conflict_do_nothing())
        row = session.scalars(
            select(ModelTrafficHour)
            .where(ModelTrafficHour.model == model, ModelTrafficHour.hour == hour)
            .with_for_update()
            .execution_options(populate_existing=True)
        ).one()
        total: TrafficCounts = {measure: dict(bins) for measure, bins in row.counts.items()}
        add_counts(total, tally)
        row.counts = total


def get_totals(
    session: Session, model: str, hours: int
) -> tuple[TrafficCounts, dict[datetime, TrafficCounts]]:
    """All counts of a model's last hours, the present one included, and those of each hour."""
    since = _current_hour() - timedelta(hours=hours - 1)
    rows = session.scalars(
        select(ModelTrafficHour)
        .where(ModelTrafficHour.model == model, ModelTrafficHour.hour >= since)
        .order_by(ModelTrafficHour.hour)
    )
    by_hour: dict[datetime, TrafficCounts] = {row.hour: row.counts for row in rows}
    return sum_counts(by_hour.values()), by_hour


def sum_counts(tallies: Iterable[Mapping[str, Mapping[str, int]]]) -> TrafficCounts:
    """The sum of tallies."""
    total: TrafficCounts = {}
    for tally in tallies:
        add_counts(total, tally)
    return total


def bin_counts(tally: TrafficCounts, measure: str) -> BinCounts:
    """One measure's bins by their numbers."""
    counts: BinCounts = defaultdict(int)
    counts.update({int(place): times for place, times in tally.get(measure, {}).items()})
    return counts


def prune(session: Session, *, max_predictions: int = MAX_PREDICTIONS_PER_MODEL) -> None:
    """Forget what is too old, and of each model the answers beyond the newest."""
    session.execute(
        delete(ModelTrafficHour).where(ModelTrafficHour.hour < clock.ago(HOURLY_COUNTS_RETENTION))
    )
    session.execute(
        delete(Prediction).where(Prediction.created_at < clock.ago(PREDICTIONS_RETENTION))
    )
    full = (
        select(Prediction.model).group_by(Prediction.model).having(func.count() > max_predictions)
    )
    for model in session.scalars(full).all():
        oldest_kept = (
            select(Prediction.created_at)
            .where(Prediction.model == model)
            .order_by(Prediction.created_at.desc())
            .offset(max_predictions - 1)
            .limit(1)
            .scalar_subquery()
        )
        session.execute(
            delete(Prediction).where(Prediction.model == model, Prediction.created_at < oldest_kept)
        )


def _current_hour() -> ColumnElement[datetime]:
    return func.date_trunc("hour", func.clock_timestamp(), "UTC")
