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
from app.histograms import CONFIDENCES, LENGTHS, SECONDS, SHARES, Scale
from app.services import traffic
from app.services.traffic import Tally, Traffic, counts_of

PREFIX = "luthier_model_"
# Labels of a model with a series each, by their number; others are only in its monitoring.
MOST_LABELS = 100
DRIFT_SECONDS = 60.0

# Of one model, by what is measured.
Indices = Mapping[str, float]


class Totals:
    """Sums of all traffic that passed here. Bounded: by models that had some, and by their bins."""

    def __init__(self) -> None:
        self._tallies: dict[str, Tally] = {}
        self._drifts: Mapping[str, Indices] = {}
        self._drifts_due = 0.0
        self._lock = threading.Lock()

    def add(self, batch: Traffic) -> None:
        with self._lock:
            for model, tally in batch.tallies.items():
                traffic.add(self._tallies.setdefault(model, {}), tally)

    def refresh(self, drifts_of: Callable[[list[str]], Mapping[str, Indices]]) -> None:
        """Ask for the drift of the models that had traffic here, if it is time to."""
        if time.monotonic() < self._drifts_due:
            return
        self._drifts_due = time.monotonic() + DRIFT_SECONDS
        with self._lock:
            models = list(self._tallies)
        self._drifts = drifts_of(models)

    def of(self, organization: str) -> "OrganizationTotals":
        """Of the models of one organization, which their names tell."""
        with self._lock:
            mine = {
                name: traffic.merged([tally])
                for name, tally in self._tallies.items()
                if (parsed := TunedName.parse(name)) and parsed.organization == organization
            }
        return OrganizationTotals(mine, {name: self._drifts.get(name, {}) for name in mine})


class OrganizationTotals(Collector):
    """Tallies as families of series."""

    def __init__(self, tallies: Mapping[str, Tally], drifts: Mapping[str, Indices]) -> None:
        self._tallies = tallies
        self._drifts = drifts

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
        for model, indices in self._drifts.items():
            for measured, index in indices.items():
                family.add_metric([model, measured], index)
        return family
