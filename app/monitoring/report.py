"""How a tuned model does in live traffic, beside the file that it was trained on."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import histogram_bins
from app.catalog import Catalog
from app.db.tables import Job, TunedModel
from app.errors import InvalidRequest
from app.histogram_bins import Counts, Scale
from app.models import registry
from app.monitoring import classification_metrics, drift, traffic
from app.monitoring.drift import Drift
from app.monitoring.schemas import (
    Confidence,
    DriftObject,
    Histogram,
    HourObject,
    Labels,
    LabelShare,
    Latency,
    Measure,
    Monitoring,
    Quality,
    RequestCounts,
)
from app.monitoring.traffic import Tally, counts_of


class Reference(BaseModel):
    """What training has told of its file; the class of jobs' `reference`."""

    version: int
    method: str
    many: bool = False
    texts: int
    lengths: Counts
    unknown: Counts
    labels: list[str] = []
    label_counts: Counts = {}
    unlabelled: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """A model's last day in few numbers: `drift` measure by measure, where there are texts enough,
    and what feedback says, if there is any."""

    drift: Mapping[str, float]
    quality: Quality | None = None


def owned(session: Session, catalog: Catalog, project_id: str, name: str) -> Job:
    """The job that made a tuned model. Raises NotFound, InvalidRequest for a base model."""
    if catalog.get(name) is not None:
        raise InvalidRequest(
            f"The model `{name}` is a base model; only fine-tuned models are monitored.",
            param="model",
        )
    return session.get_one(Job, registry.owned(session, project_id, name).job_id)


def reference_of(job: Job) -> Reference | None:
    """What its models' traffic is held against; None for chats, and if bins have changed since."""
    if job.reference is None or job.reference.get("version") != histogram_bins.VERSION:
        return None
    return Reference.model_validate(job.reference)


def report(
    session: Session, catalog: Catalog, project_id: str, name: str, *, hours: int
) -> Monitoring:
    """The traffic of the last hours, the present one included. Raises NotFound, InvalidRequest."""
    job = owned(session, catalog, project_id, name)
    reference = reference_of(job)
    total, by_hour = traffic.totals(session, name, hours)
    return Monitoring(
        model=name,
        method=job.method,
        hours=hours,
        requests=_requests(total),
        texts=total.get("sums", {}).get("texts", 0),
        input_tokens=total.get("sums", {}).get("tokens", 0),
        latency=_latency(total),
        input_length=_measure(
            histogram_bins.LENGTHS,
            counts_of(total, "lengths"),
            None if reference is None else reference.lengths,
        ),
        unknown_tokens=None if reference is None else _unknown_tokens(total, reference),
        **({} if reference is None else _of_classes(total, reference)),
        by_hour=[
            HourObject(
                hour=hour,
                requests=sum(tally.get("requests", {}).values()),
                texts=tally.get("sums", {}).get("texts", 0),
                tokens=tally.get("sums", {}).get("tokens", 0),
            )
            for hour, tally in by_hour.items()
        ],
    )


def standing(session: Session, name: str) -> Standing:
    """How a model has done in the last day."""
    job = session.scalars(select(Job).join(TunedModel).where(TunedModel.name == name)).one_or_none()
    reference = None if job is None else reference_of(job)
    if reference is None:
        return Standing({})
    total, _ = traffic.totals(session, name, 24)
    found = {
        "input_length": drift.of_ordered(reference.lengths, counts_of(total, "lengths")),
        "unknown_tokens": drift.of_ordered(reference.unknown, counts_of(total, "unknown")),
    }
    judged = None
    if reference.method == "classification":
        found["labels"] = _label_drift(total, reference)
        judged = classification_metrics.of(total, reference.labels)
    drifts = {measured: one.psi for measured, one in found.items() if one.psi is not None}
    return Standing(drifts, judged)


def _unknown_tokens(total: Tally, reference: Reference) -> Measure:
    return _measure(histogram_bins.SHARES, counts_of(total, "unknown"), reference.unknown)


def _of_classes(total: Tally, reference: Reference) -> dict[str, Any]:
    """What only classifiers have."""
    if reference.method != "classification":
        return {}
    return {
        "labels": _labels(total, reference),
        "confidence": _confidence(total),
        "feedback": classification_metrics.of(total, reference.labels),
    }


def _requests(total: Tally) -> RequestCounts:
    counts = total.get("requests", {})
    return RequestCounts(
        **{name: counts.get(name, 0) for name in ("answered", "refused", "failed", "left")}
    )


def _latency(total: Tally) -> Latency:
    counts = counts_of(total, "seconds")
    times: dict[str, Any] = {
        f"p{percent}_ms": _rounded(histogram_bins.SECONDS.quantile(counts, percent / 100), 1000)
        for percent in (50, 95, 99)
    }
    return Latency(**times, seconds=_shown(histogram_bins.SECONDS, counts))


def _measure(scale: Scale, live: Counts, training: Counts | None) -> Measure:
    return Measure(
        p50=_rounded(scale.quantile(live, 0.5)),
        p95=_rounded(scale.quantile(live, 0.95)),
        live=_shown(scale, live),
        training=None if training is None else _shown(scale, training),
        drift=None if training is None else _drift(drift.of_ordered(training, live)),
    )


def _labels(total: Tally, reference: Reference) -> Labels:
    live = counts_of(total, "labels")
    given = max(1, sum(live.values()))
    trained = max(1, sum(reference.label_counts.values()))
    return Labels(
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
        drift=_drift(_label_drift(total, reference)),
    )


def _label_drift(total: Tally, reference: Reference) -> Drift:
    # "None of them" is a kind of its own.
    none = len(reference.labels)
    unlabelled = total.get("sums", {}).get("unlabelled", 0)
    expected, actual = dict(reference.label_counts), dict(counts_of(total, "labels"))
    if reference.many:
        expected[none], actual[none] = reference.unlabelled, unlabelled
    return drift.of_kinds(expected, actual)


def _confidence(total: Tally) -> Confidence:
    counts = counts_of(total, "confidence")
    scale = histogram_bins.CONFIDENCES
    return Confidence(
        p05=_rounded(scale.quantile(counts, 0.05)),
        p50=_rounded(scale.quantile(counts, 0.5)),
        live=_shown(scale, counts),
    )


def _drift(found: Drift) -> DriftObject:
    return DriftObject(**asdict(found))


def _shown(scale: Scale, counts: Counts) -> Histogram:
    last = max((place for place, times in counts.items() if times), default=-1)
    return Histogram(
        upper_bounds=list(scale.bounds[: last + 1]),
        counts=[counts.get(place, 0) for place in range(last + 1)],
    )


def _rounded(value: float | None, factor: float = 1) -> float | None:
    return None if value is None else round(value * factor, 3)
