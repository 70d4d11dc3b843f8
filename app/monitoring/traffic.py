"""Traffic of fine-tuned models: counts per model and hour, and recent predictions.

Each process sums its requests in memory (`TrafficBatch`) and writes a batch at a time; processes
may write concurrently. No text is stored.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import ModelTrafficHour, Prediction
from app.histogram_bins import DURATION_BINS, BinCounts
from app.wire.engine_metadata import EngineMetadata

HOURLY_COUNTS_RETENTION = timedelta(days=90)
PREDICTIONS_RETENTION = timedelta(days=7)
# Bounds the disk space of a busy model.
MAX_PREDICTIONS_PER_MODEL = 100_000
# Per batch; bounds the memory used while the database is unavailable.
MAX_PENDING_PREDICTIONS = 10_000


class RequestOutcome(StrEnum):
    """Outcome of a request to a fine-tuned model, as stored and as a label value in Prometheus."""

    SUCCEEDED = "succeeded"
    CLIENT_ERROR = "client_error"
    SERVER_ERROR = "server_error"
    CLIENT_DISCONNECTED = "client_disconnected"


# Counts per measure and bin. Bins are strings, as the keys of JSON objects are.
TrafficCounts = dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedRequest:
    """One finished request to a fine-tuned model."""

    model: str
    request_id: str
    outcome: RequestOutcome
    duration_seconds: float
    metadata: EngineMetadata | None


@dataclass(slots=True)
class TrafficBatch:
    """Requests waiting to be written. `dropped_predictions` cannot get feedback."""

    counts_by_model: dict[str, TrafficCounts] = field(default_factory=dict)
    predictions: list[ServedRequest] = field(default_factory=list)
    dropped_predictions: int = 0

    def add(self, request: ServedRequest) -> None:
        counts = self.counts_by_model.setdefault(request.model, {})
        increment(counts, "requests", request.outcome)
        metadata = request.metadata
        if request.outcome != RequestOutcome.SUCCEEDED:
            return
        increment(counts, "duration_seconds", DURATION_BINS.bin_index(request.duration_seconds))
        if metadata is None:
            return
        _add_metadata(counts, metadata)
        if not metadata.predicted_labels:
            return
        if len(self.predictions) < MAX_PENDING_PREDICTIONS:
            self.predictions.append(request)
        else:
            self.dropped_predictions += 1

    def requeue(self, failed: "TrafficBatch") -> None:
        """Merge a batch that could not be written into this one."""
        for model, counts in failed.counts_by_model.items():
            add_counts(self.counts_by_model.setdefault(model, {}), counts)
        room = MAX_PENDING_PREDICTIONS - len(self.predictions)
        self.predictions += failed.predictions[:room]
        self.dropped_predictions += failed.dropped_predictions
        self.dropped_predictions += max(0, len(failed.predictions) - room)


def _add_metadata(counts: TrafficCounts, metadata: EngineMetadata) -> None:
    increment(counts, "sums", "texts", metadata.texts)
    increment(counts, "sums", "tokens", metadata.tokens)
    increment(counts, "sums", "unlabelled", metadata.unlabelled)
    for measure in ("text_lengths", "unknown_token_ratio", "confidence", "labels"):
        bins: BinCounts = getattr(metadata, measure)
        for index, times in bins.items():
            increment(counts, measure, index, times)


def increment(counts: TrafficCounts, measure: str, bin_: object, times: int = 1) -> None:
    """Add to one bin of a measure."""
    bins = counts.setdefault(measure, {})
    bins[str(bin_)] = bins.get(str(bin_), 0) + times


def add_counts(counts: TrafficCounts, other: Mapping[str, Mapping[str, int]]) -> None:
    """Add all bins of `other` to `counts`."""
    for measure, bins in other.items():
        for bin_, times in bins.items():
            increment(counts, measure, bin_, times)


def record_batch(session: Session, batch: TrafficBatch) -> None:
    """Add a batch to the current hour, by the database's clock, and store its predictions."""
    hour = session.scalars(select(_build_current_hour())).one()
    add_to_hourly_counts(
        session, {(model, hour): counts for model, counts in batch.counts_by_model.items()}
    )
    rows = [
        {
            "request_id": request.request_id,
            "model": request.model,
            "response_id": request.metadata.response_id,
            "predicted_labels": request.metadata.predicted_labels,
            "true_labels": [None] * len(request.metadata.predicted_labels),
        }
        for request in batch.predictions
        if request.metadata is not None and request.metadata.predicted_labels is not None
    ]
    if rows:
        session.execute(insert(Prediction).on_conflict_do_nothing(), rows)


def add_to_hourly_counts(
    session: Session, counts_by_hour: Mapping[tuple[str, datetime], TrafficCounts]
) -> None:
    """Add counts, which may be negative, to the rows of their models and hours."""
    # Rows are locked in a fixed order, so that two processes cannot deadlock.
    for (model, hour), counts in sorted(counts_by_hour.items(), key=lambda pair: pair[0]):
        new = insert(ModelTrafficHour).values(model=model, hour=hour, counts={})
        session.execute(new.on_conflict_do_nothing())
        row = session.scalars(
            select(ModelTrafficHour)
            .where(ModelTrafficHour.model == model, ModelTrafficHour.hour == hour)
            .with_for_update()
            .execution_options(populate_existing=True)
        ).one()
        total: TrafficCounts = {measure: dict(bins) for measure, bins in row.counts.items()}
        add_counts(total, counts)
        row.counts = total


def get_totals(
    session: Session, model: str, hours: int
) -> tuple[TrafficCounts, dict[datetime, TrafficCounts]]:
    """Get a model's counts of the last `hours`, the current one included: summed, and by hour."""
    since = _build_current_hour() - timedelta(hours=hours - 1)
    rows = session.scalars(
        select(ModelTrafficHour)
        .where(ModelTrafficHour.model == model, ModelTrafficHour.hour >= since)
        .order_by(ModelTrafficHour.hour)
    )
    by_hour: dict[datetime, TrafficCounts] = {row.hour: row.counts for row in rows}
    return sum_counts(by_hour.values()), by_hour


def sum_counts(several: Iterable[Mapping[str, Mapping[str, int]]]) -> TrafficCounts:
    total: TrafficCounts = {}
    for counts in several:
        add_counts(total, counts)
    return total


def get_bin_counts(counts: TrafficCounts, measure: str) -> BinCounts:
    """Get the counts of one measure by bin index; missing bins are 0."""
    bins: BinCounts = defaultdict(int)
    bins.update({int(index): times for index, times in counts.get(measure, {}).items()})
    return bins


def prune(session: Session, *, max_predictions: int = MAX_PREDICTIONS_PER_MODEL) -> None:
    """Delete counts and predictions past their retention, and each model's predictions beyond the
    newest `max_predictions`."""
    session.execute(
        delete(ModelTrafficHour).where(
            ModelTrafficHour.hour < clock.subtract_from_now(HOURLY_COUNTS_RETENTION)
        )
    )
    session.execute(
        delete(Prediction).where(
            Prediction.created_at < clock.subtract_from_now(PREDICTIONS_RETENTION)
        )
    )
    over = (
        select(Prediction.model).group_by(Prediction.model).having(func.count() > max_predictions)
    )
    for model in session.scalars(over).all():
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


def _build_current_hour() -> ColumnElement[datetime]:
    return func.date_trunc("hour", func.clock_timestamp(), "UTC")
