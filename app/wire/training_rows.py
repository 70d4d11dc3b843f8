"""Wire between the API and an engine: rows of training files, rendered as training does."""

from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.wire.long_rows import LongRowPolicy
from app.wire.sampling import StrictModel


class SequenceRole(StrEnum):
    """Role of a sequence of tokens in its example.

    row             of a chat or completion; answers that cannot be learned in the chat's row have
                    rows of their own
    chosen, rejected  the input of a preference with either output
    text            of an encoder's example
    window          question and a part of the context
    anchor, positive, negative, first, second  texts that are embedded
    """

    ROW = "row"
    CHOSEN = "chosen"
    REJECTED = "rejected"
    TEXT = "text"
    WINDOW = "window"
    ANCHOR = "anchor"
    POSITIVE = "positive"
    NEGATIVE = "negative"
    FIRST = "first"
    SECOND = "second"


class SegmentSplit(StrEnum):
    """Splitting of a sequence's text: where the loss begins or ends, or at each token."""

    LOSS = "loss"
    TOKEN = "token"


class RowSegment(BaseModel):
    """Successive tokens of a sequence: their text, and whether the loss is computed on them.

    `label` is the tag of a token of a token classifier, or `answer` for the tokens of an answer in
    a context.
    """

    text: str
    token_count: int
    has_loss: bool
    label: str | None = None


class RowSequence(BaseModel):
    """Tokens that go through the model together, cut at the length of a row if `is_truncated`."""

    role: SequenceRole
    token_count: int
    loss_token_count: int
    is_truncated: bool
    segments: list[RowSegment]


class RenderedRow(BaseModel):
    """An example as training reads it.

    `is_learned` is false if training leaves it out; `note` says why, or what of it is not learned.
    With `fails_job` training does not begin because of it.
    An example of an encoder has its loss as a whole: `labels` or `score` is the target.
    """

    is_learned: bool
    fails_job: bool = False
    note: str | None = None
    sequences: list[RowSequence] = []
    labels: list[str] | None = None
    score: float | None = None


class ModelFacts(BaseModel):
    """Facts about a model and the engine's machine, for estimates of training.

    `layer_parameters` are those of the matrices in the model's layers, without embeddings and head,
    and `matrix_names` the names of their modules, such as q_proj; none from engines of earlier
    versions.
    `gigaflops` is the measured rate of products of the model's width, in 10^9 operations a second
    on all threads of the engine.
    """

    model_type: str
    hidden_size: int
    num_layers: int
    num_parameters: int
    layer_parameters: int
    matrix_names: list[str] = []
    bytes_per_parameter: int
    gigaflops: float


class RenderTrainingRowsRequest(StrictModel):
    """POST /v1/render_training_rows. Valid rows of a training file, in its format.

    `thinking` says whether any answer of the file has reasoning. With `split` null, the response
    has counts, and no texts.
    """

    model: str
    method: str
    format: str
    rows: list[dict[str, Any]] = Field(max_length=1000)
    max_tokens: int | None = Field(None, ge=1)
    thinking: bool = False
    long_rows: LongRowPolicy = LongRowPolicy.TRUNCATE
    split: SegmentSplit | None = None
    include_facts: bool = False


class RenderedTrainingRows(BaseModel):
    """The rows of a request, in its order; `max_tokens` is the length at which they are cut."""

    object: Literal["list"] = "list"
    max_tokens: int
    warnings: list[str]
    data: list[RenderedRow]
    facts: ModelFacts | None = None
