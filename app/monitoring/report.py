"""How a tuned model does in live traffic, beside the file that it was trained on."""

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
from app.monitoring.traffic import TrafficCounts, bin_counts


class DriftBaseline(BaseModel):
    """What training has told of its file; the class of jobs' `reference`."""

    version: int
    method: str
    many: bool = False
    texts: int
    lengths: BinCounts
    unknown: BinCounts
    labels: list[str] = []
    label_counts: BinCounts = {}
    unlabelled: int = 0


@dataclass(frozen=True, slots=True)
class LastDayMetrics:
    """A model's last day in few numbers: `drift` measure by measure, where there are texts enough,
    and what feedback says, if there is any."""

    drift: Mapping[str, float]
    feedback: ClassificationMetrics | None = None


def get_training_job(session: Session, catalog: Catalog, project_id: str, name: str) -> Job:
    """The job that made a tuned model. Raises NotFound, InvalidRequest for a base model."""
    if catalog.get(name) is not None:
        raise InvalidRequest(
            f"The model `{name}` is a base model; only fine-tuned models are monitored.",
            param="model",
        )
    return session.get_one(Job, registry.get_owned(session, project_id, name).job_id)


def find_drift_baseline(job: Job) -> DriftBaseline | None:
    """What its models' traffic is held against; None for chats, and if bins have changed since."""
    if job.reference is None or job.reference.get("version") != histogram_bins.VERSION:
        return None
    return DriftBaseline.model_validate(job.reference)


def build_report(
    session: Session, catalog: Catalog, project_id: str, name: str, *, hours: int
) -> MonitoringReport:
    """The traffic of the last hours, the present one included. Raises NotFound, InvalidRequest."""
    job = get_training_job(session, catalog, project_id, name)
    reference = find_drift_baseline(job)
    total, by_hour = traffic.get_totals(session, name, hours)
    return MonitoringReport(
        model=name,
        method=job.method,
        hours=hours,
        requests=_request_counts(total),
        texts=total.get("sums", {}).get("texts", 0),
        input_tokens=total.get("sums", {}).get("tokens", 0),
        latency=_latency(total),
        input_length=_distribution(
            histogram_bins.TEXT_LENGTH_BINS,
            bin_counts(total, "lengths"),
            None if reference is None else reference.lengths,
        ),
        unknown_tokens=None if reference is None else _unknown_tokens(total, reference),
        **({} if reference is None else _classifier_fields(total, reference)),
        by_hour=[
            HourlyTraffic(
                hour=hour,
                requests=sum(tally.get("requests", {}).values()),
                texts=tally.get("sums", {}).get("texts", 0),
                tokens=tally.get("sums", {}).get("tokens", 0),
            )
            for hour, tally in by_hour.items()
        ],
    )


def get_last_day_metrics(session: Session, name: str) -> LastDayMetrics:
    """How a model has done in the last day."""
    job = session.scalars(
        select(Job).join(FineTunedModel).where(FineTunedModel.name == name)
    ).one_or_none()
    reference = None if job is None else find_drift_baseline(job)
    if reference is None:
        return LastDayMetrics({})
    total, _ = traffic.get_totals(session, name, 24)
    found = {
        "input_length": drift.ordinal_drift(reference.lengths, bin_counts(total, "lengths")),
        "unknown_tokens": drift.ordinal_drift(reference.unknown, bin_counts(total, "unknown")),
    }
    judged = None
    if reference.method == "classification":
        found["labels"] = _label_drift(total, reference)
        judged = classification_metrics.compute_metrics(total, reference.labels)
    drifts = {measured: one.psi for measured, one in found.items() if one.psi is not None}
    return LastDayMetrics(drifts, judged)


def _unknown_tokens(total: TrafficCounts, reference: DriftBaseline) -> MeasuredDistribution:
    return _distribution(histogram_bins.RATIO_BINS, bin_counts(total, "unknown"), reference.unknown)


def _classifier_fields(total: TrafficCounts, reference: DriftBaseline) -> dict[str, Any]:
    """What only classifiers have."""
    if reference.method != "classification":
        return {}
    return {
        "labels": _label_distribution(total, reference),
        "confidence": _confidence_distribution(total),
        "feedback": classification_metrics.compute_metrics(total, reference.labels),
    }


def _request_counts(total: TrafficCounts) -> RequestCounts:
    counts = total.get("requests", {})
    return RequestCounts(
        **{name: counts.get(name, 0) for name in ("answered", "refused", "failed", "left")}
    )


def _latency(total: TrafficCounts) -> Latency:
    counts = bin_counts(total, "seconds")
    times: dict[str, Any] = {
        f"p{percent}_ms": _round(histogram_bins.DURATION_BINS.quantile(counts, percent / 100), 1000)
        for percent in (50, 95, 99)
    }
    return Latency(**times, seconds=_histogram(histogram_bins.DURATION_BINS, counts))


def _distribution(
    scale: HistogramBins, live: BinCounts, training: BinCounts | None
) -> MeasuredDistribution:
    return MeasuredDistribution(
        p50=_round(scale.quantile(live, 0.5)),
        p95=_round(scale.quantile(live, 0.95)),
        live=_histogram(scale, live),
        training=None if training is None else _histogram(scale, training),
        drift=None if training is None else _drift_object(drift.ordinal_drift(training, live)),
    )


def _label_distribution(total: TrafficCounts, reference: DriftBaseline) -> LabelDistribution:
    live = bin_counts(total, "labels")
    given = max(1, sum(live.values()))
    trained = max(1, sum(reference.label_counts.values()))
    return LabelDistribution(
        data=[
            LabelShare(
                label=label,
                count=live.get(place, 0),
                share=round(live.get(place, 0) / given, 4),
                training_share=round(reference.label_counts.get(place, 0) / trained, 4),
            )
            for place, label in enumerate(reference.labels)
        ],
        none=total.get("sums", {}).get("unlabelled", 0),
        drift=_drift_object(_label_drift(total, reference)),
    )


def _label_drift(total: TrafficCounts, reference: DriftBaseline) -> Drift:
    # "None of them" is a kind of its own.
    none = len(reference.labels)
    unlabelled = total.get("sums", {}).get("unlabelled", 0)
    expected, actual = dict(reference.label_counts), dict(bin_counts(total, "labels"))
    if reference.many:
        expected[none], actual[none] = reference.unlabelled, unlabelled
    return drift.categorical_drift(expected, actual)


def _confidence_distribution(total: TrafficCounts) -> ConfidenceDistribution:
    counts = bin_counts(total, "confidence")
    scale = histogram_bins.CONFIDENCE_BINS
    return ConfidenceDistribution(
        p05=_round(scale.quantile(counts, 0.05)),
        p50=_round(scale.quantile(counts, 0.5)),
        live=_histogram(scale, counts),
    )


def _drift_object(found: Drift) -> DriftObject:
    return DriftObject(**asdict(found))


def _histogram(scale: HistogramBins, counts: BinCounts) -> Histogram:
    last = max((place for place, times in counts.items() if times), default=-1)
    return Histogram(
        upper_bounds=list(scale.bounds[: last + 1]),
        counts=[counts.get(place, 0) for place in range(last + 1)],
    )


def _round(value: float | None, factor: float = 1) -> float | None:
    return None if value is None else round(value * factor, 3)
