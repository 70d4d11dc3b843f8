"""Monitoring report: a fine-tuned model's live traffic compared with its training file."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import histogram_bins
from app.catalog import Catalog
from app.db.tables import FineTunedModel, Job
from app.errors import InvalidRequest
from app.histogram_bins import BinCounts, HistogramBins
from app.models import registry
from app.monitoring import classification_metrics, drift, traffic
from app.monitoring.drift import Drift
from app.monitoring.schemas import (
    ClassificationMetrics,
    ConfidenceDistribution,
    DriftObject,
    Histogram,
    HourlyTraffic,
    LabelDistribution,
    LabelShare,
    Latency,
    MeasuredDistribution,
    MonitoringReport,
    RequestCounts,
)
from app.monitoring.traffic import RequestOutcome, TrafficCounts, get_bin_counts


class DriftBaseline(BaseModel):
    """Distribution of a training file, as the trainer stored it in its job's `drift_baseline`."""

    version: int
    method: str
    multi_label: bool = False
    texts: int
    text_lengths: BinCounts
    unknown_token_ratio: BinCounts
    labels: list[str] = []
    label_counts: BinCounts = {}
    unlabelled: int = 0


@dataclass(frozen=True, slots=True)
class LastDayMetrics:
    """PSI per measure with enough texts, and metrics from feedback, of the last 24 hours."""

    drift: Mapping[str, float]
    feedback: ClassificationMetrics | None = None


def get_training_job(session: Session, catalog: Catalog, project_id: str, name: str) -> Job:
    """Get a fine-tuned model's job. Raises NotFound, or InvalidRequest for a base model."""
    if catalog.get(name) is not None:
        raise InvalidRequest(
            f"The model `{name}` is a base model; only fine-tuned models are monitored.",
            param="model",
        )
    return session.get_one(Job, registry.get_owned(session, project_id, name).job_id)


def find_drift_baseline(job: Job) -> DriftBaseline | None:
    """Find the baseline of a job's models; None for chat models and bins of another version."""
    stored = job.drift_baseline
    if stored is None or stored.get("version") != histogram_bins.VERSION:
        return None
    return DriftBaseline.model_validate(stored)


def build_report(
    session: Session, catalog: Catalog, project_id: str, name: str, *, hours: int
) -> MonitoringReport:
    """Report on the last `hours`, including the current one. Raises NotFound or InvalidRequest."""
    job = get_training_job(session, catalog, project_id, name)
    baseline = find_drift_baseline(job)
    total, by_hour = traffic.get_totals(session, name, hours)
    return MonitoringReport(
        model=name,
        method=job.method,
        hours=hours,
        requests=_build_request_counts(total),
        texts=total.get("sums", {}).get("texts", 0),
        input_tokens=total.get("sums", {}).get("tokens", 0),
        latency=_build_latency(total),
        input_length=_build_distribution(
            histogram_bins.TEXT_LENGTH_BINS,
            get_bin_counts(total, "text_lengths"),
            None if baseline is None else baseline.text_lengths,
        ),
        unknown_tokens=None if baseline is None else _build_unknown_tokens(total, baseline),
        **({} if baseline is None else _build_classifier_fields(total, baseline)),
        by_hour=[
            HourlyTraffic(
                hour=hour,
                requests=sum(counts.get("requests", {}).values()),
                texts=counts.get("sums", {}).get("texts", 0),
                tokens=counts.get("sums", {}).get("tokens", 0),
            )
            for hour, counts in by_hour.items()
        ],
    )


def get_last_day_metrics(session: Session, name: str) -> LastDayMetrics:
    statement = select(Job).join(FineTunedModel).where(FineTunedModel.name == name)
    job = session.scalars(statement).one_or_none()
    baseline = None if job is None else find_drift_baseline(job)
    if baseline is None:
        return LastDayMetrics({})
    total, _ = traffic.get_totals(session, name, 24)
    drifts = {
        "input_length": drift.compute_ordinal_drift(
            baseline.text_lengths, get_bin_counts(total, "text_lengths")
        ),
        "unknown_tokens": drift.compute_ordinal_drift(
            baseline.unknown_token_ratio, get_bin_counts(total, "unknown_token_ratio")
        ),
    }
    feedback = None
    if baseline.method == "classification":
        drifts["labels"] = _compute_label_drift(total, baseline)
        feedback = classification_metrics.compute_metrics(total, baseline.labels)
    known = {measure: result.psi for measure, result in drifts.items() if result.psi is not None}
    return LastDayMetrics(known, feedback)


def _build_unknown_tokens(total: TrafficCounts, baseline: DriftBaseline) -> MeasuredDistribution:
    return _build_distribution(
        histogram_bins.RATIO_BINS,
        get_bin_counts(total, "unknown_token_ratio"),
        baseline.unknown_token_ratio,
    )


def _build_classifier_fields(total: TrafficCounts, baseline: DriftBaseline) -> dict[str, Any]:
    if baseline.method != "classification":
        return {}
    return {
        "labels": _build_label_distribution(total, baseline),
        "confidence": _build_confidence_distribution(total),
        "feedback": classification_metrics.compute_metrics(total, baseline.labels),
    }


def _build_request_counts(total: TrafficCounts) -> RequestCounts:
    counts = total.get("requests", {})
    return RequestCounts(**{outcome.value: counts.get(outcome, 0) for outcome in RequestOutcome})


def _build_latency(total: TrafficCounts) -> Latency:
    counts = get_bin_counts(total, "duration_seconds")
    bins = histogram_bins.DURATION_BINS
    quantiles: dict[str, Any] = {
        f"p{percent}_ms": _round(bins.quantile(counts, percent / 100), 1000)
        for percent in (50, 95, 99)
    }
    return Latency(**quantiles, seconds=_build_histogram(bins, counts))


def _build_distribution(
    bins: HistogramBins, live: BinCounts, training: BinCounts | None
) -> MeasuredDistribution:
    return MeasuredDistribution(
        p50=_round(bins.quantile(live, 0.5)),
        p95=_round(bins.quantile(live, 0.95)),
        live=_build_histogram(bins, live),
        training=None if training is None else _build_histogram(bins, training),
        drift=None
        if training is None
        else _build_drift_object(drift.compute_ordinal_drift(training, live)),
    )


def _build_label_distribution(total: TrafficCounts, baseline: DriftBaseline) -> LabelDistribution:
    live = get_bin_counts(total, "labels")
    live_total = max(1, sum(live.values()))
    training_total = max(1, sum(baseline.label_counts.values()))
    return LabelDistribution(
        data=[
            LabelShare(
                label=label,
                count=live.get(index, 0),
                share=round(live.get(index, 0) / live_total, 4),
                training_share=round(baseline.label_counts.get(index, 0) / training_total, 4),
            )
            for index, label in enumerate(baseline.labels)
        ],
        none=total.get("sums", {}).get("unlabelled", 0),
        drift=_build_drift_object(_compute_label_drift(total, baseline)),
    )


def _compute_label_drift(total: TrafficCounts, baseline: DriftBaseline) -> Drift:
    expected, actual = dict(baseline.label_counts), dict(get_bin_counts(total, "labels"))
    if baseline.multi_label:
        # "No label" is an additional category, after the labels.
        no_label = len(baseline.labels)
        expected[no_label] = baseline.unlabelled
        actual[no_label] = total.get("sums", {}).get("unlabelled", 0)
    return drift.compute_categorical_drift(expected, actual)


def _build_confidence_distribution(total: TrafficCounts) -> ConfidenceDistribution:
    counts = get_bin_counts(total, "confidence")
    bins = histogram_bins.CONFIDENCE_BINS
    return ConfidenceDistribution(
        p05=_round(bins.quantile(counts, 0.05)),
        p50=_round(bins.quantile(counts, 0.5)),
        live=_build_histogram(bins, counts),
    )


def _build_drift_object(result: Drift) -> DriftObject:
    return DriftObject(**asdict(result))


def _build_histogram(bins: HistogramBins, counts: BinCounts) -> Histogram:
    last = max((index for index, times in counts.items() if times), default=-1)
    return Histogram(
        upper_bounds=list(bins.bounds[: last + 1]),
        counts=[counts.get(index, 0) for index in range(last + 1)],
    )


def _round(value: float | None, factor: float = 1) -> float | None:
    return None if value is None else round(value * factor, 3)
