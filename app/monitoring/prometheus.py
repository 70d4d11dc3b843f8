"""What tuned models are asked, as Prometheus' series: what passed this process since its start."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from app.catalog import TunedName
from app.histogram_bins import CONFIDENCES, LENGTHS, SECONDS, SHARES, Scale
from app.monitoring import traffic
from app.monitoring.report import Standing
from app.monitoring.schemas import Quality
from app.monitoring.traffic import Tally, Traffic, counts_of

PREFIX = "luthier_model_"
# Labels of a model with a series each, by their number; others are only in its monitoring.
MOST_LABELS = 100
STANDING_SECONDS = 60.0
# What feedback says of a model, of numbers from 0 to 1. Those of each label are in its monitoring.
QUALITIES = ("accuracy", "f1_micro", "f1_macro", "f1_weighted")


class Totals:
    """Sums of all traffic that passed here, and what the database says of the models that had some.
    Bounded: by those models, and by their bins."""

    def __init__(self) -> None:
        self._tallies: dict[str, Tally] = {}
        self._standings: Mapping[str, Standing] = {}
        self._standings_due = 0.0
        self._lock = threading.Lock()

    def add(self, batch: Traffic) -> None:
        with self._lock:
            for model, tally in batch.tallies.items():
                traffic.add(self._tallies.setdefault(model, {}), tally)

    def know(self, model: str) -> None:
        """Show a model that had no traffic here, but feedback on what was answered before."""
        with self._lock:
            self._tallies.setdefault(model, {})

    def refresh(self, standings_of: Callable[[list[str]], Mapping[str, Standing]]) -> None:
        """Ask how the models that are known here do, if it is time to."""
        if time.monotonic() < self._standings_due:
            return
        self._standings_due = time.monotonic() + STANDING_SECONDS
        with self._lock:
            models = list(self._tallies)
        self._standings = standings_of(models)

    def of(self, organization: str) -> "OrganizationTotals":
        """Of the models of one organization, which their names tell."""
        with self._lock:
            mine = {
                name: traffic.merged([tally])
                for name, tally in self._tallies.items()
                if (parsed := TunedName.parse(name)) and parsed.organization == organization
            }
        standings = {name: one for name, one in self._standings.items() if name in mine}
        return OrganizationTotals(mine, standings)


class OrganizationTotals(Collector):
    """Tallies and standings as families of series."""

    def __init__(self, tallies: Mapping[str, Tally], standings: Mapping[str, Standing]) -> None:
        self._tallies = tallies
        self._standings = standings

    def collect(self) -> Iterator[Metric]:
        yield self._counter("requests", "Requests, by how they ended", "requests", "outcome")
        yield self._counter("labels", "How often each label was found", "labels", "label")
        yield self._sum("texts", "Texts of answered requests")
        yield self._sum("tokens", "Tokens of answered requests' texts")
        yield self._histogram("seconds", "Seconds to the last byte of an answer", SECONDS)
        yield self._histogram("lengths", "Tokens of a text", LENGTHS)
        yield self._histogram("unknown", "Share of a text's tokens unknown to training", SHARES)
        yield self._histogram("confidence", "Probability of a text's likeliest label", CONFIDENCES)
        yield self._drift()
        yield self._quality()
        yield self._judged()

    def _counter(self, name: str, told: str, measure: str, kind: str) -> Metric:
        family = CounterMetricFamily(PREFIX + name, told, labels=["model", kind])
        for model, tally in self._tallies.items():
            for place, times in sorted(tally.get(measure, {}).items()):
                if not place.isdecimal() or int(place) < MOST_LABELS:
                    family.add_metric([model, place], times)
        return family

    def _sum(self, name: str, told: str) -> Metric:
        family = CounterMetricFamily(PREFIX + name, told, labels=["model"])
        for model, tally in self._tallies.items():
            family.add_metric([model], tally.get("sums", {}).get(name, 0))
        return family

    def _histogram(self, measure: str, told: str, scale: Scale) -> Metric:
        family = HistogramMetricFamily(PREFIX + measure, told, labels=["model"])
        for model, tally in self._tallies.items():
            counts, total, buckets = counts_of(tally, measure), 0, []
            for place, bound in enumerate((*map(str, scale.bounds), "+Inf")):
                total += counts.get(place, 0)
                buckets.append((bound, total))
            # Sums of values are not kept, only how many there were.
            family.add_metric([model], buckets, None)
        return family

    def _drift(self) -> Metric:
        told = "Population stability index of the last 24 hours against the training file"
        family = GaugeMetricFamily(PREFIX + "psi", told, labels=["model", "of"])
        for model, standing in self._standings.items():
            for measured, index in standing.drift.items():
                family.add_metric([model, measured], index)
        return family

    def _quality(self) -> Metric:
        told = "Accuracy and F1 of the last 24 hours' texts with feedback"
        family = GaugeMetricFamily(PREFIX + "feedback_quality", told, labels=["model", "of"])
        for model, quality in self._judgements():
            for measured in QUALITIES:
                family.add_metric([model, measured], getattr(quality, measured))
        return family

    def _judged(self) -> Metric:
        told = "Texts of the last 24 hours with feedback"
        family = GaugeMetricFamily(PREFIX + "feedback_texts", told, labels=["model"])
        for model, quality in self._judgements():
            family.add_metric([model], quality.texts)
        return family

    def _judgements(self) -> list[tuple[str, Quality]]:
        """Of the models that have feedback; a share of nothing would not be 0."""
        each = self._standings.items()
        return [(model, one.quality) for model, one in each if one.quality is not None]
