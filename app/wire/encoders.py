"""Requests and answers of encoders: vLLM's for classes, and Hugging Face's."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool

from app.wire.base import bounded_int

# Texts of one request; as many as OpenAI takes.
MAX_INPUTS = 2048


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


# More than anything has, and small enough for any arithmetic.
PositiveInt32 = bounded_int(1, 2**31 - 1)
Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[list[Text], Field(min_length=1, max_length=MAX_INPUTS)]
Inputs = Annotated[Texts, BeforeValidator(_as_list, json_schema_input_type=Text | Texts)]


class _EncoderRequest(BaseModel):
    # Older clients send fields that mean nothing here, such as `user`.
    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    model: str
    # vLLM's word for cutting a text that is too long: to so many tokens, or -1 for the model's.
    truncate_prompt_tokens: Annotated[int, Field(ge=-1)] | None = None


class ClassifyRequest(_EncoderRequest):
    """POST /v1/classify."""

    input: Inputs


class QuestionInput(BaseModel):
    question: str = Field(min_length=1)
    context: str = Field(min_length=1)


class InferenceParameters(BaseModel):
    """Those of Hugging Face's tasks that are known here; null leaves the choice to the service.

    The engine refuses those that the model's task has no use for, and all others, by their names.
    """

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    truncate: StrictBool | None = None
    truncation_direction: Literal["right"] | None = None
    # Of labels and of answers.
    top_k: Annotated[int, PositiveInt32] | None = None
    function_to_apply: Literal["none", "sigmoid", "softmax"] | None = None
    # Words are what has tags here, so that those of one entity are together in either way.
    aggregation_strategy: Literal["none", "simple", "first"] | None = None
    ignore_labels: Annotated[list[str], Field(fail_fast=True)] | None = None
    align_to_words: StrictBool | None = None
    handle_impossible_answer: StrictBool | None = None
    max_answer_len: Annotated[int, PositiveInt32] | None = None
    normalize: StrictBool | None = None
    dimensions: Annotated[int, PositiveInt32] | None = None
    encoding_format: Literal["float"] | None = None


class InferenceRequest(InferenceParameters):
    """POST /models/{model}, which the path names; the model's task says what comes back.

    One text and a list of one are answered differently, as Hugging Face does. The parameters stand
    in `parameters`, but those of feature extraction beside `inputs`.
    """

    inputs: QuestionInput | Text | Texts
    parameters: InferenceParameters = InferenceParameters()
    # How Hugging Face's own service is to work, such as `wait_for_model`.
    options: dict[str, Any] | None = None


class LabelScore(BaseModel):
    label: str
    score: float


class EntitySpan(BaseModel):
    """Characters `start` to `end` of the text, which are `word`; of single words `entity` is the
    tag."""

    entity_group: str | None = None
    entity: str | None = None
    score: float
    word: str
    start: int
    end: int


class AnswerSpan(BaseModel):
    """Characters `start` to `end` of the context; an empty answer if there is none in it."""

    answer: str
    score: float
    start: int
    end: int


# By the model's task: answers; the entities of one text, or of each; labels; vectors.
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
    """`probs` go with the `labels` of the answer; several may be above one half if many apply."""

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
