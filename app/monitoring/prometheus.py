"""Prometheus series per fine-tuned model: traffic of this process since its start, and drift and
feedback metrics of the last 24 hours."""

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
from app.monitoring.traffic import TrafficBatch, TrafficCounts, get_bin_counts

METRIC_PREFIX = "luthier_model_"
# Labels of a model that get a series, by label index; the monitoring report has all of them.
MAX_LABEL_SERIES = 100
REFRESH_INTERVAL_SECONDS = 60.0
# Fields of ClassificationMetrics with a series each. Per-label ones are in the monitoring report.
FEEDBACK_METRICS = ("accuracy", "f1_micro", "f1_macro", "f1_weighted")


class TrafficCounters:
    """Totals of this process's traffic, and database metrics of the models with traffic.

    Memory is bounded by the number of those models and of their bins.
    """

    def __init__(self) -> None:
        self._counts_by_model: dict[str, TrafficCounts] = {}
        self._last_day: Mapping[str, LastDayMetrics] = {}
        self._refresh_due = 0.0
        self._lock = threading.Lock()

    def add(self, batch: TrafficBatch) -> None:
        with self._lock:
            for model, counts in batch.counts_by_model.items():
                traffic.add_counts(self._counts_by_model.setdefault(model, {}), counts)

    def register_model(self, model: str) -> None:
        """Export a model without traffic here, but with feedback on another process's responses."""
        with self._lock:
            self._counts_by_model.setdefault(model, {})

    def refresh(self, load: Callable[[list[str]], Mapping[str, LastDayMetrics]]) -> None:
        """Load the known models' metrics, at most once per REFRESH_INTERVAL_SECONDS."""
        if time.monotonic() < self._refresh_due:
            return
        self._refresh_due = time.monotonic() + REFRESH_INTERVAL_SECONDS
        with self._lock:
            models = list(self._counts_by_model)
        self._last_day = load(models)

    def build_collector(self, organization: str) -> "OrganizationCollector":
        """Build a collector of one organization's models, identified by their names."""
        with self._lock:
            counts_by_model = {
                name: traffic.sum_counts([counts])
                for name, counts in self._counts_by_model.items()
                if (parsed := FineTunedModelName.parse(name))
                and parsed.organization == organization
            }
        last_day = {
            name: metrics for name, metrics in self._last_day.items() if name in counts_by_model
        }
        return OrganizationCollector(counts_by_model, last_day)


class OrganizationCollector(Collector):
    """Prometheus metric families of one organization's models."""

    def __init__(
        self,
        counts_by_model: Mapping[str, TrafficCounts],
        last_day: Mapping[str, LastDayMetrics],
    ) -> None:
        self._counts_by_model = counts_by_model
        self._last_day = last_day

    def collect(self) -> Iterator[Metric]:
        yield self._build_counter("requests", "Requests by outcome", "requests", "outcome")
        yield self._build_counter("labels", "Predictions per label index", "labels", "label")
        yield self._build_sum_counter("texts", "Texts in successful requests")
        yield self._build_sum_counter("tokens", "Input tokens of the texts in successful requests")
        yield self._build_histogram(
            "request_duration_seconds",
            "Seconds to the last byte of a successful response",
            "duration_seconds",
            DURATION_BINS,
        )
        yield self._build_histogram(
            "input_tokens", "Tokens per text", "text_lengths", TEXT_LENGTH_BINS
        )
        yield self._build_histogram(
            "unknown_token_ratio",
            "Share of a text's tokens that the training file does not contain",
            "unknown_token_ratio",
            RATIO_BINS,
        )
        yield self._build_histogram(
            "confidence",
            "Probability of each text's likeliest label",
            "confidence",
            CONFIDENCE_BINS,
        )
        yield self._build_drift()
        yield self._build_feedback_quality()
        yield self._build_feedback_texts()

    def _build_counter(self, name: str, help_: str, measure: str, label: str) -> Metric:
        family = CounterMetricFamily(METRIC_PREFIX + name, help_, labels=["model", label])
        for model, counts in self._counts_by_model.items():
            for bin_, times in sorted(counts.get(measure, {}).items()):
                if not bin_.isdecimal() or int(bin_) < MAX_LABEL_SERIES:
                    family.add_metric([model, bin_], times)
        return family

    def _build_sum_counter(self, name: str, help_: str) -> Metric:
        family = CounterMetricFamily(METRIC_PREFIX + name, help_, labels=["model"])
        for model, counts in self._counts_by_model.items():
            family.add_metric([model], counts.get("sums", {}).get(name, 0))
        return family

    def _build_histogram(self, name: str, help_: str, measure: str, bins: HistogramBins) -> Metric:
        family = HistogramMetricFamily(METRIC_PREFIX + name, help_, labels=["model"])
        for model, model_counts in self._counts_by_model.items():
            counts, total, buckets = get_bin_counts(model_counts, measure), 0, []
            for index, bound in enumerate((*map(str, bins.bounds), "+Inf")):
                total += counts.get(index, 0)
                buckets.append((bound, total))
            # The sum of the values is not stored, only their number.
            family.add_metric([model], buckets, None)
        return family

    def _build_drift(self) -> Metric:
        help_ = "Population stability index of the last 24 hours against the training file"
        family = GaugeMetricFamily(METRIC_PREFIX + "drift_psi", help_, labels=["model", "feature"])
        for model, metrics in self._last_day.items():
            for feature, psi in metrics.drift.items():
                family.add_metric([model, feature], psi)
        return family

    def _build_feedback_quality(self) -> Metric:
        help_ = "Accuracy and F1 over the last 24 hours' texts with feedback"
        family = GaugeMetricFamily(
            METRIC_PREFIX + "feedback_quality", help_, labels=["model", "metric"]
        )
        for model, metrics in self._list_models_with_feedback():
            for metric in FEEDBACK_METRICS:
                family.add_metric([model, metric], getattr(metrics, metric))
        return family

    def _build_feedback_texts(self) -> Metric:
        help_ = "Texts of the last 24 hours with feedback"
        family = GaugeMetricFamily(METRIC_PREFIX + "feedback_texts", help_, labels=["model"])
        for model, metrics in self._list_models_with_feedback():
            family.add_metric([model], metrics.texts)
        return family

    def _list_models_with_feedback(self) -> list[tuple[str, ClassificationMetrics]]:
        """List models with feedback; the others have no series, rather than an accuracy of 0."""
        return [
            (model, metrics.feedback)
            for model, metrics in self._last_day.items()
            if metrics.feedback is not None
        ]
