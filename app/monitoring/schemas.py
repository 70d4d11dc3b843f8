"""How a tuned model does in live traffic; an extension of OpenAI's API."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from app.wire.base import UnixTime

MAX_FEEDBACK_ITEMS = 1000


class RequestCounts(BaseModel):
    """`refused` were the client's fault, `failed` the service's, `left` were not waited for."""

    answered: int
    refused: int
    failed: int
    left: int


class Histogram(BaseModel):
    """`counts[n]` values were at most `upper_bounds[n]` and above the bound before it; the last
    count is of those above all bounds. Trailing empty bins are left out of both."""

    upper_bounds: list[float]
    counts: list[int]


class Latency(BaseModel):
    """Milliseconds from a request to the last byte of its answer, as far as the bins can tell."""

    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    seconds: Histogram


class DriftObject(BaseModel):
    """Population stability index against the training file. `by_chance` is what it stays below in
    95 of 100 cases where nothing has changed; with fewer than 100 texts neither is given."""

    psi: float | None
    by_chance: float | None
    state: Literal["stable", "shifting", "drifted", "too_few"]
    texts: int


class MeasuredDistribution(BaseModel):
    """One number per text, live and in the training file; no drift without the latter."""

    p50: float | None
    p95: float | None
    live: Histogram
    training: Histogram | None
    drift: DriftObject | None


class LabelShare(BaseModel):
    """How often a label was given in live traffic, and stands in the training file."""

    label: str
    count: int
    share: float
    training_share: float


class LabelDistribution(BaseModel):
    data: list[LabelShare]
    # Texts that no label applies to, where several may apply.
    none: int
    drift: DriftObject


class ConfidenceDistribution(BaseModel):
    """Of the likeliest label of each text: its probability."""

    p05: float | None
    p50: float | None
    live: Histogram


class LabelMetrics(BaseModel):
    precision: float
    recall: float
    f1: float
    support: int


class ClassificationMetrics(BaseModel):
    """How right the model was, of the texts that feedback was given for."""

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
    """GET /v1/models/{model}/monitoring. What the model's task does not have is null."""

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
    """What one text's label really is. `id` is the answer's id, or its header x-request-id."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(min_length=1, max_length=100)
    # Which of the request's texts.
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
        """All labels of the text."""
        return [self.label] if self.label is not None else self.labels or []


class CreateFeedback(BaseModel):
    """POST /v1/models/{model}/feedback."""

    model_config = ConfigDict(extra="forbid")

    feedback: list[FeedbackItem] = Field(min_length=1, max_length=MAX_FEEDBACK_ITEMS)


class FeedbackReceipt(BaseModel):
    """`changed` is smaller than `received` by what had been said before."""

    object: Literal["model.feedback"] = "model.feedback"
    model: str
    received: int
    changed: int
