"""Request and response bodies of monitoring, an extension of OpenAI's API."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from app.db.tables import Rating
from app.monitoring.drift import DriftState
from app.stored_completions.feedback import AnswerFeedback
from app.wire.base import UnixTime, max_items
from app.wire.tools import MAX_TOOLS, ToolCall

MAX_FEEDBACK_ITEMS = 1000
# Of a corrected answer: more than any model writes.
MAX_CORRECTION_CHARS = 1_000_000


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


class CorrectedAnswer(BaseModel):
    """The message that should have been the answer: a content, or calls of tools."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["assistant"] = "assistant"
    content: str | None = Field(None, max_length=MAX_CORRECTION_CHARS)
    tool_calls: Annotated[list[ToolCall] | None, max_items(MAX_TOOLS, "tool calls")] = None


def _to_message(correction: Any) -> Any:
    """Normalize both forms of a correction to a message, so that errors name one form."""
    if isinstance(correction, str):
        return {"content": correction}
    if isinstance(correction, dict) or correction is None:
        return correction
    raise PydanticCustomError("correction", "expected a text, or a message of the assistant")


CorrectionText = Annotated[str, Field(max_length=MAX_CORRECTION_CHARS)]
Correction = Annotated[
    CorrectedAnswer | None,
    BeforeValidator(_to_message, json_schema_input_type=CorrectionText | CorrectedAnswer | None),
]


class FeedbackItem(BaseModel):
    """The true label of one text, or the verdict on an answer of a chat model.

    `id` is the response's id; for labels also its header x-request-id. A rating and a correction
    are for a stored chat completion, and may come together.
    """

    model_config = ConfigDict(extra="forbid")

    id: str = Field(min_length=1, max_length=100)
    # Index of the text in its request.
    index: Annotated[int, Field(ge=0)] = 0
    label: str | None = None
    labels: Annotated[list[str], Field(fail_fast=True)] | None = None
    rating: Rating | None = None
    correction: Correction = None

    @model_validator(mode="after")
    def _check_one_form(self) -> Self:
        is_rated = self.rating is not None or self.correction is not None
        if (self.label is not None) + (self.labels is not None) + is_rated != 1:
            rule = (
                "give either 'label', or 'labels' where several or none may apply, or for a stored "
                "chat completion 'rating', 'correction' or both"
            )
            raise PydanticCustomError("feedback", rule)
        if is_rated and self.index:
            rule = "'index' is for labels: a rating is that of the first choice"
            raise PydanticCustomError("feedback", rule)
        return self

    @property
    def is_of_answer(self) -> bool:
        """True for a rating or correction, false for labels."""
        return self.label is None and self.labels is None

    @property
    def true_labels(self) -> list[str]:
        return [self.label] if self.label is not None else self.labels or []

    def to_answer_feedback(self) -> AnswerFeedback:
        correction = self.correction
        message = None if correction is None else correction.model_dump(exclude_none=True)
        return AnswerFeedback(self.id, self.rating, message)


class CreateFeedback(BaseModel):
    """POST /v1/models/{model}/feedback. All items are labels, or none is."""

    model_config = ConfigDict(extra="forbid")

    feedback: list[FeedbackItem] = Field(min_length=1, max_length=MAX_FEEDBACK_ITEMS)

    @model_validator(mode="after")
    def _check_one_kind(self) -> Self:
        if len({item.is_of_answer for item in self.feedback}) > 1:
            rule = "send labels of texts and ratings of answers in separate requests"
            raise PydanticCustomError("feedback", rule)
        return self


class FeedbackReceipt(BaseModel):
    """`changed` does not count items that repeat earlier feedback."""

    object: Literal["model.feedback"] = "model.feedback"
    model: str
    received: int
    changed: int
