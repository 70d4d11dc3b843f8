"""Encoder inference on the wire: vLLM's /v1/classify and Hugging Face's inference API."""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    Tag,
)

from app.wire.base import bounded_int

# Texts per request, as OpenAI's limit for embeddings.
MAX_INPUTS = 2048
# Both are tokenized as a whole, since an answer may be anywhere.
MAX_QUESTION_CHARS = 2**14
MAX_CONTEXT_CHARS = 2**18


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


# Bounded, so that no arithmetic with it overflows.
PositiveInt32 = bounded_int(1, 2**31 - 1)
Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[list[Text], Field(min_length=1, max_length=MAX_INPUTS)]
Inputs = Annotated[Texts, BeforeValidator(_as_list, json_schema_input_type=Text | Texts)]


class _EncoderRequest(BaseModel):
    # Clients send fields without a meaning here, such as `user`.
    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    model: str
    # From vLLM: truncate texts to that many tokens, or with -1 to the model's maximum.
    truncate_prompt_tokens: Annotated[int, Field(ge=-1)] | None = None


class ClassifyRequest(_EncoderRequest):
    """POST /v1/classify."""

    input: Inputs


class QuestionInput(BaseModel):
    question: str = Field(min_length=1, max_length=MAX_QUESTION_CHARS)
    context: str = Field(min_length=1, max_length=MAX_CONTEXT_CHARS)


def _find_kind(value: Any) -> str | None:
    """Name the kind of an input, so that an error is about the kind that was sent."""
    if isinstance(value, dict | QuestionInput):
        return "question_input"
    if isinstance(value, str):
        return "one_text"
    return "many_texts" if isinstance(value, list) else None


QuestionOrTexts = Annotated[
    Annotated[QuestionInput, Tag("question_input")]
    | Annotated[Text, Tag("one_text")]
    | Annotated[Texts, Tag("many_texts")],
    Discriminator(
        _find_kind,
        custom_error_type="inputs",
        custom_error_message="expected a text, an array of texts, or a question and its context",
    ),
]


class InferenceParameters(BaseModel):
    """Parameters of the supported Hugging Face tasks; null means the default.

    The engine rejects, by name, unknown parameters and those of other tasks than the model's.
    """

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    truncate: StrictBool | None = None
    truncation_direction: Literal["right"] | None = None
    # Number of labels, or of answers.
    top_k: Annotated[int, PositiveInt32] | None = None
    function_to_apply: Literal["none", "sigmoid", "softmax"] | None = None
    # Tags are per word, so "simple" and "first" group the words of an entity alike.
    aggregation_strategy: Literal["none", "simple", "first"] | None = None
    ignore_labels: Annotated[list[str], Field(fail_fast=True)] | None = None
    align_to_words: StrictBool | None = None
    handle_impossible_answer: StrictBool | None = None
    max_answer_len: Annotated[int, PositiveInt32] | None = None
    normalize: StrictBool | None = None
    dimensions: Annotated[int, PositiveInt32] | None = None
    encoding_format: Literal["float"] | None = None


class InferenceRequest(InferenceParameters):
    """POST /models/{model}; the model's task determines the response.

    As with Hugging Face, one text and a list of one text have different responses. Parameters are
    in `parameters`, except those of feature extraction, which are next to `inputs`.
    """

    inputs: QuestionOrTexts
    parameters: InferenceParameters = InferenceParameters()
    # Options of Hugging Face's own service, such as `wait_for_model`; ignored.
    options: dict[str, Any] | None = None


class LabelScore(BaseModel):
    label: str
    score: float


class EntitySpan(BaseModel):
    """`word` is the text from character `start` to `end`. `entity` is a single word's tag,
    `entity_group` the label of grouped words."""

    entity_group: str | None = None
    entity: str | None = None
    score: float
    word: str
    start: int
    end: int


class AnswerSpan(BaseModel):
    """Characters `start` to `end` of the context; empty if the context has no answer."""

    answer: str
    score: float
    start: int
    end: int


# By task: answers; entities of one text, or per text; labels per text; vectors.
InferenceResponse = (
    AnswerSpan
    | list[AnswerSpan]
    | list[EntitySpan]
    | list[list[EntitySpan]]
    | list[list[LabelScore]]
    | list[list[float]]
)


class ClassifyUsage(BaseModel):
    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: None = None


class ClassifyItem(BaseModel):
    """`probs` are in the order of the response's `labels`; multi-label ones do not sum to 1."""

    index: int
    label: str | None
    probs: list[float]
    num_classes: int


class ClassifyResponse(BaseModel):
    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[ClassifyItem]
    labels: list[str]
    usage: ClassifyUsage
