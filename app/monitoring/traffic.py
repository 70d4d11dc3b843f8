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
from app.db.tables import ModelHour, Prediction
from app.histogram_bins import SECONDS, Counts
from app.wire.engine_metadata import Observation

KEPT_HOURS = timedelta(days=90)
KEPT_PREDICTIONS = timedelta(days=7)
# Of each model; more would let one busy model fill the disk.
MOST_PREDICTIONS = 100_000
# Of one batch: while the database is away they must not fill the memory.
MOST_WAITING = 10_000

# answered; refused (the client's fault); failed (ours); left (the client did not wait for it)
Outcome = Literal["answered", "refused", "failed", "left"]
# How often the bins of each measure were hit; bins are texts, since JSON's keys are.
Tally = dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request to a tuned model, and how it ended after so many seconds."""

    model: str
    request_id: str
    outcome: Outcome
    seconds: float
    observation: Observation | None


@dataclass(slots=True)
class Traffic:
    """Requests that wait to be recorded. `dropped` counts the answers that feedback cannot name."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    named: list[Asked] = field(default_factory=list)
    dropped: int = 0

    def add(self, asked: Asked) -> None:
        tally = self.tallies.setdefault(asked.model, {})
        count(tally, "requests", asked.outcome)
        seen = asked.observation
        if asked.outcome != "answered":
            return
        count(tally, "seconds", SECONDS.bin(asked.seconds))
        if seen is None:
            return
        _observe(tally, seen)
        if not seen.found:
            return
        if len(self.named) < MOST_WAITING:
            self.named.append(asked)
        else:
            self.dropped += 1

    def put_back(self, earlier: "Traffic") -> None:
        """Take over what could not be recorded."""
        for model, tally in earlier.tallies.items():
            add(self.tallies.setdefault(model, {}), tally)
        room = MOST_WAITING - len(self.named)
        self.named += earlier.named[:room]
        self.dropped += earlier.dropped + max(0, len(earlier.named) - room)


def _observe(tally: Tally, seen: Observation) -> None:
    count(tally, "sums", "texts", seen.texts)
    count(tally, "sums", "tokens", seen.tokens)
    count(tally, "sums", "unlabelled", seen.unlabelled)
    for measure in ("lengths", "unknown", "confidence", "labels"):
        counts: Counts = getattr(seen, measure)
        for place, times in counts.items():
            count(tally, measure, place, times)


def count(tally: Tally, measure: str, place: object, times: int = 1) -> None:
    """Add to one bin of a measure."""
    bins = tally.setdefault(measure, {})
    bins[str(place)] = bins.get(str(place), 0) + times


def add(tally: Tally, other: Mapping[str, Mapping[str, int]]) -> None:
    """Add all bins of another tally."""
    for measure, bins in other.items():
        for place, times in bins.items():
            count(tally, measure, place, times)


def record(session: Session, traffic: Traffic) -> None:
    """Bring a batch into the database, under the hour that it is there."""
    hour = session.scalars(select(_this_hour())).one()
    add_to_hours(session, {(model, hour): tally for model, tally in traffic.tallies.items()})
    rows = [
        {
            "request_id": asked.request_id,
            "model": asked.model,
            "answer_id": asked.observation.answer_id,
            "found": asked.observation.found,
            "truth": [None] * len(asked.observation.found),
        }
        for asked in traffic.named
        if asked.observation is not None and asked.observation.found is not None
    ]
    if rows:
        session.execute(insert(Prediction).on_conflict_do_nothing(), rows)


def add_to_hours(session: Session, tallies: Mapping[tuple[str, datetime], Tally]) -> None:
    """Add counts to those of models and hours; they may be negative."""
    # In one order, so that two processes never wait for each other's rows.
    for (model, hour), tally in sorted(tallies.items(), key=lambda pair: pair[0]):
        new = insert(ModelHour).values(model=model, hour=hour, counts={})
        session.execute(new.on_conflict_do_nothing())
        row = session.scalars(
            select(ModelHour)
            .where(ModelHour.model == model, ModelHour.hour == hour)
            .with_for_update()
            .execution_options(populate_existing=True)
        ).one()
        total: Tally = {measure: dict(bins) for measure, bins in row.counts.items()}
        add(total, tally)
        row.counts = total


def totals(session: Session, model: str, hours: int) -> tuple[Tally, dict[datetime, Tally]]:
    """All counts of a model's last hours, the present one included, and those of each hour."""
    since = _this_hour() - timedelta(hours=hours - 1)
    rows = session.scalars(
        select(ModelHour)
        .where(ModelHour.model == model, ModelHour.hour >= since)
        .order_by(ModelHour.hour)
    )
    by_hour: dict[datetime, Tally] = {row.hour: row.counts for row in rows}
    return merged(by_hour.values()), by_hour


def merged(tallies: Iterable[Mapping[str, Mapping[str, int]]]) -> Tally:
    """The sum of tallies."""
    total: Tally = {}
    for tally in tallies:
        add(total, tally)
    return total


def counts_of(tally: Tally, measure: str) -> Counts:
    """One measure's bins by their numbers."""
    counts: Counts = defaultdict(int)
    counts.update({int(place): times for place, times in tally.get(measure, {}).items()})
    return counts


def prune(session: Session, *, most: int = MOST_PREDICTIONS) -> None:
    """Forget what is too old, and of each model the answers beyond the newest."""
    session.execute(delete(ModelHour).where(ModelHour.hour < clock.ago(KEPT_HOURS)))
    session.execute(delete(Prediction).where(Prediction.created_at < clock.ago(KEPT_PREDICTIONS)))
    full = select(Prediction.model).group_by(Prediction.model).having(func.count() > most)
    for model in session.scalars(full).all():
        oldest_kept = (
            select(Prediction.created_at)
            .where(Prediction.model == model)
            .order_by(Prediction.created_at.desc())
            .offset(most - 1)
            .limit(1)
            .scalar_subquery()
        )
        session.execute(
            delete(Prediction).where(Prediction.model == model, Prediction.created_at < oldest_kept)
        )


def _this_hour() -> ColumnElement[datetime]:
    return func.date_trunc("hour", func.clock_timestamp(), "UTC")
