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

from app.catalog import FineTunedModelName
from app.histogram_bins import (
    CONFIDENCE_BINS,
    DURATION_BINS,
    RATIO_BINS,
    TEXT_LENGTH_BINS,
    HistogramBins,
)
from app.monitoring import traffic
from app.monitoring.report import LastDayMetrics
from app.monitoring.schemas import ClassificationMetrics
from app.monitoring.traffic import TrafficBatch, TrafficCounts, bin_counts

METRIC_PREFIX = "luthier_model_"
# Labels of a model with a series each, by their number; others are only in its monitoring.
MAX_LABEL_SERIES = 100
REFRESH_INTERVAL_SECONDS = 60.0
# What feedback says of a model, of numbers from 0 to 1. Those of each label are in its monitoring.
FEEDBACK_METRICS = ("accuracy", "f1_micro", "f1_macro", "f1_weighted")


class TrafficCounters:
    """Sums of all traffic that passed here, and what the database says of the models that had some.
    Bounded: by those models, and by their bins."""

    def __init__(self) -> None:
        self._counts_by_model: dict[str, TrafficCounts] = {}
        self._last_day: Mapping[str, LastDayMetrics] = {}
        self._refresh_due = 0.0
        self._lock = threading.Lock()

    def add(self, batch: TrafficBatch) -> None:
        with self._lock:
            for model, tally in batch.counts_by_model.items():
                traffic.add_counts(self._counts_by_model.setdefault(model, {}), tally)

    def register_model(self, model: str) -> None:
        """Show a model that had no traffic here, but feedback on what was answered before."""
        with self._lock:
            self._counts_by_model.setdefault(model, {})

    def refresh(self, standings_of: Callable[[list[str]], Mapping[str, LastDayMetrics]]) -> None:
        """Ask how the models that are known here do, if it is time to."""
        if time.monotonic() < self._refresh_due:
            return
        self._refresh_due = time.monotonic() + REFRESH_INTERVAL_SECONDS
        with self._lock:
            models = list(self._counts_by_model)
        self._last_day = standings_of(models)

    def for_organization(self, organization: str) -> "OrganizationCollector":
        """Of the models of one organization, which their names tell."""
        with self._lock:
            mine = {
                name: traffic.sum_counts([tally])
                for name, tally in self._counts_by_model.items()
                if (parsed := FineTunedModelName.parse(name))
                and parsed.organization == organization
            }
        standings = {name: one for name, one in self._last_day.items() if name in mine}
        return OrganizationCollector(mine, standings)


class OrganizationCollector(Collector):
    """Tallies and standings as families of series."""

    def __init__(
        self, tallies: Mapping[str, TrafficCounts], standings: Mapping[str, LastDayMetrics]
    ) -> None:
        self._counts_by_model = tallies
        self._last_day = standings

    def collect(self) -> Iterator[Metric]:
        yield self._counter("requests", "Requests, by how they ended", "requests", "outcome")
        yield self._counter("labels", "How often each label was found", "labels", "label")
        yield self._sum_counter("texts", "Texts of answered requests")
        yield self._sum_counter("tokens", "Tokens of answered requests' texts")
        yield self._histogram("seconds", "Seconds to the last byte of an answer", DURATION_BINS)
        yield self._histogram("lengths", "Tokens of a text", TEXT_LENGTH_BINS)
        yield self._histogram("unknown", "Share of a text's tokens unknown to training", RATIO_BINS)
        yield self._histogram(
            "confidence", "Probability of a text's likeliest label", CONFIDENCE_BINS
        )
        yield self._drift()
        yield self._feedback_quality()
        yield self._feedback_texts()

    def _counter(self, name: str, told: str, measure: str, kind: str) -> Metric:
        family = CounterMetricFamily(METRIC_PREFIX + name, told, labels=["model", kind])
        for model, tally in self._counts_by_model.items():
            for place, times in sorted(tally.get(measure, {}).items()):
                if not place.isdecimal() or int(place) < MAX_LABEL_SERIES:
                    family.add_metric([model, place], times)
        return family

    def _sum_counter(self, name: str, told: str) -> Metric:
        family = CounterMetricFamily(METRIC_PREFIX + name, told, labels=["model"])
        for model, tally in self._counts_by_model.items():
            family.add_metric([model], tally.get("sums", {}).get(name, 0))
        return family

    def _histogram(self, measure: str, told: str, scale: HistogramBins) -> Metric:
        family = HistogramMetricFamily(METRIC_PREFIX + measure, told, labels=["model"])
        for model, tally in self._counts_by_model.items():
            counts, total, buckets = bin_counts(tally, measure), 0, []
            for place, bound in enumerate((*map(str, scale.bounds), "+Inf")):
                total += counts.get(place, 0)
                buckets.append((bound, total))
            # Sums of values are not kept, only how many there were.
            family.add_metric([model], buckets, None)
        return family

    def _drift(self) -> Metric:
        told = "Population stability index of the last 24 hours against the training file"
        family = GaugeMetricFamily(METRIC_PREFIX + "psi", told, labels=["model", "of"])
        for model, standing in self._last_day.items():
            for measured, index in standing.drift.items():
                family.add_metric([model, measured], index)
        return family

    def _feedback_quality(self) -> Metric:
        told = "Accuracy and F1 of the last 24 hours' texts with feedback"
        family = GaugeMetricFamily(METRIC_PREFIX + "feedback_quality", told, labels=["model", "of"])
        for model, quality in self._models_with_feedback():
            for measured in FEEDBACK_METRICS:
                family.add_metric([model, measured], getattr(quality, measured))
        return family

    def _feedback_texts(self) -> Metric:
        told = "Texts of the last 24 hours with feedback"
        family = GaugeMetricFamily(METRIC_PREFIX + "feedback_texts", told, labels=["model"])
        for model, quality in self._models_with_feedback():
            family.add_metric([model], quality.texts)
        return family

    def _models_with_feedback(self) -> list[tuple[str, ClassificationMetrics]]:
        """Of the models that have feedback; a share of nothing would not be 0."""
        each = self._last_day.items()
        return [(model, one.feedback) for model, one in each if one.feedback is not None]
