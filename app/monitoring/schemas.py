"""Request and response bodies of monitoring, an extension of OpenAI's API."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from app.monitoring.drift import DriftState
from app.wire.base import UnixTime

MAX_FEEDBACK_ITEMS = 1000


class RequestCounts(BaseModel):
    """Requests by outcome. `client_disconnected`: the client did not wait for the end."""

    succeeded: int
    client_error: int
    server_error: int
    client_disconnected: int


class Histogram(BaseModel):
    """`counts[n]` values were at most `upper_bounds[n]` and above the previous bound; the last
    count is of values above all bounds. Both lists omit trailing empty bins."""

    upper_bounds: list[float]
    counts: list[int]


class Latency(BaseModel):
    """Time from a request to the last byte of its response, with quantiles estimated from bins."""

    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    seconds: Histogram


class DriftObject(BaseModel):
    """Population stability index against the training file.

    Without any drift, sampling noise keeps `psi` below `noise_threshold` in 95 % of cases. Both are
    null with fewer than 100 texts.
    """

    psi: float | None
    noise_threshold: float | None
    state: DriftState
    texts: int


class MeasuredDistribution(BaseModel):
    """One number per text, live and in the training file. Without the latter, `drift` is null."""

    p50: float | None
    p95: float | None
    live: Histogram
    training: Histogram | None
    drift: DriftObject | None


class LabelShare(BaseModel):
    """Share of a label among live predictions, and in the training file."""

    label: str
    count: int
    share: float
    training_share: float


class LabelDistribution(BaseModel):
    data: list[LabelShare]
    # Texts without any label, in multi-label models.
    none: int
    drift: DriftObject


class ConfidenceDistribution(BaseModel):
    """Probability of each text's likeliest label."""

    p05: float | None
    p50: float | None
    live: Histogram


class LabelMetrics(BaseModel):
    precision: float
    recall: float
    f1: float
    support: int


class ClassificationMetrics(BaseModel):
    """Accuracy and F1 over the texts with feedback."""

    texts: int
    accuracy: float
    f1_micro: float
    f1_macro: float
    f1_weighted: float
    per_label: dict[str, LabelMetrics]


class HourlyTraffic(BaseModel):
    hour: UnixTime
    requests: int
    texts: int
    tokens: int


class MonitoringReport(BaseModel):
    """GET /v1/models/{model}/monitoring. Fields that the model's task does not have are null."""

    object: Literal["model.monitoring"] = "model.monitoring"
    model: str
    method: str
    hours: int
    requests: RequestCounts
    texts: int
    input_tokens: int
    latency: Latency
    input_length: MeasuredDistribution
    unknown_tokens: MeasuredDistribution | None
    labels: LabelDistribution | None = None
    confidence: ConfidenceDistribution | None = None
    feedback: ClassificationMetrics | None = None
    by_hour: list[HourlyTraffic]


class FeedbackItem(BaseModel):
    """The true label of one text. `id` is the response's id, or its header x-request-id."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(min_length=1, max_length=100)
    # Index of the text in its request.
    index: Annotated[int, Field(ge=0)] = 0
    label: str | None = None
    labels: Annotated[list[str], Field(fail_fast=True)] | None = None

    @model_validator(mode="after")
    def _check_one_label_form(self) -> Self:
        if (self.label is None) == (self.labels is None):
            rule = "give either 'label', or 'labels' where several or none may apply"
            raise PydanticCustomError("labels", rule)
        return self

    @property
    def true_labels(self) -> list[str]:
        return [self.label] if self.label is not None else self.labels or []


class CreateFeedback(BaseModel):
    """POST /v1/models/{model}/feedback."""

    model_config = ConfigDict(extra="forbid")

    feedback: list[FeedbackItem] = Field(min_length=1, max_length=MAX_FEEDBACK_ITEMS)


class FeedbackReceipt(BaseModel):
    """`changed` does not count items that repeat earlier feedback."""

    object: Literal["model.feedback"] = "model.feedback"
    model: str
    received: int
    changed: int
