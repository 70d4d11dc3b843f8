"""Wire schemas of graders: how a model's output is turned into a reward."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

MAX_TEMPLATE_CHARS = 128 * 1024

Name = Annotated[str, Field(min_length=1, max_length=256)]
# A text with variables, see `app.graders.template`.
Template = Annotated[str, Field(max_length=MAX_TEMPLATE_CHARS)]


Labels = Annotated[list[Name], Field(min_length=1, max_length=1000, fail_fast=True)]
# Metrics of text_similarity. Cosine is that of the texts' embeddings.
Metric = Literal[
    "cosine",
    "fuzzy_match",
    "bleu",
    "gleu",
    "meteor",
    "rouge_1",
    "rouge_2",
    "rouge_3",
    "rouge_4",
    "rouge_5",
    "rouge_l",
]


class StringCheckGrader(BaseModel):
    """1 if the operation holds for input and reference, else 0. `like` means contains."""

    type: Literal["string_check"]
    name: Name
    input: Template
    reference: Template
    # OpenAI's schema says "ne", one of its guides "neq".
    operation: Literal["eq", "ne", "neq", "like", "ilike"]


class TextSimilarityGrader(BaseModel):
    """Similarity of input and reference, from 0 to 1, or from -1 if it is the cosine's."""

    type: Literal["text_similarity"]
    name: Name
    input: Template
    reference: Template
    evaluation_metric: Metric


class ClassificationGrader(BaseModel):
    """1 if the input is the reference, a label, without the spaces around them; an extension.

    With `labels`, an input that is none of them is no label.
    """

    type: Literal["classification"]
    name: Name
    input: Template
    reference: Template
    labels: Labels | None = None


class TranslationGrader(BaseModel):
    """chrF of one translation, from 0 to 1; an extension. Evals have those of all together."""

    type: Literal["translation"]
    name: Name
    input: Template
    reference: Template


class TextContentItem(BaseModel):
    """A text item of a judge's prompt, as in OpenAI's Responses API."""

    type: Literal["input_text", "output_text"]
    text: str


def _join_content(content: Any) -> Any:
    """Any form of content as one text. Raises PydanticCustomError for anything but text."""
    items = content if isinstance(content, list) else [content]
    return "".join(_item_text(item) for item in items)


def _item_text(item: Any) -> str:
    if isinstance(item, dict) and item.get("type") in ("input_text", "output_text"):
        item = item.get("text")
    if isinstance(item, str):
        return item
    rule = "expected text, or items of type 'input_text' or 'output_text'; judges read only text"
    raise PydanticCustomError("not_text", rule)


class ModelMessage(BaseModel):
    """A message of a judge's prompt; the text is a template."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["user", "assistant", "system", "developer"]
    content: Annotated[
        str,
        BeforeValidator(
            _join_content,
            json_schema_input_type=str | TextContentItem | list[str | TextContentItem],
        ),
    ]


class SamplingParams(BaseModel):
    """Sampling parameters of a judge.

    The plural in `max_completions_tokens` is OpenAI's; chats have `max_completion_tokens`.
    """

    model_config = ConfigDict(strict=True, extra="forbid")

    seed: int | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_completions_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    reasoning_effort: Annotated[str, Field(max_length=16)] | None = None

    @property
    def max_new_tokens(self) -> int | None:
        """The smaller of the two, if both are set."""
        given = (self.max_completions_tokens, self.max_completion_tokens)
        return min((each for each in given if each is not None), default=None)


class ModelGrader(BaseModel):
    """Base of the graders that ask an LLM judge."""

    model_config = ConfigDict(strict=True)

    name: Name
    model: str
    input: Annotated[list[ModelMessage], Field(min_length=1, fail_fast=True)]
    sampling_params: SamplingParams | None = None


class ScoreModelGrader(ModelGrader):
    """The number in the judge's answer `{"result": …}`, clamped to `range`."""

    type: Literal["score_model"]
    range: Annotated[list[float], Field(min_length=2, max_length=2)] = [0.0, 1.0]

    @field_validator("range")
    @classmethod
    def _check_range(cls, value: list[float]) -> list[float]:
        if value[0] >= value[1]:
            raise PydanticCustomError("range", "the first number must be below the second")
        return value


class LabelModelGrader(ModelGrader):
    """1 if the judge chooses one of the passing labels, else 0."""

    type: Literal["label_model"]
    labels: Annotated[list[Name], Field(min_length=1, max_length=100)]
    passing_labels: Annotated[list[Name], Field(min_length=1, fail_fast=True)]

    @field_validator("passing_labels")
    @classmethod
    def _check_passing_labels(cls, value: list[str], info: ValidationInfo) -> list[str]:
        if not set(value) <= set(info.data.get("labels", value)):
            raise PydanticCustomError("labels", "each must be one of 'labels'")
        return value


class PythonGrader(BaseModel):
    """Not supported: anyone with a key could run arbitrary code on the operator's machine."""

    type: Literal["python"]
    name: Name
    source: str
    image_tag: str | None = None

    @field_validator("type")
    @classmethod
    def _reject(cls, value: str) -> str:
        rule = "this service does not run clients' programs; use another type of grader"
        raise PydanticCustomError("python", rule)


# Label graders are valid only inside a multi grader, as in the types of OpenAI's SDKs.
SubGrader = Annotated[
    StringCheckGrader
    | TextSimilarityGrader
    | ScoreModelGrader
    | LabelModelGrader
    | PythonGrader
    | ClassificationGrader
    | TranslationGrader,
    Field(discriminator="type"),
]


class MultiGrader(BaseModel):
    """A formula over the rewards of several graders, each under its key."""

    type: Literal["multi"]
    name: Name
    graders: Annotated[dict[str, SubGrader], Field(min_length=1, max_length=20)]
    calculate_output: Annotated[str, Field(min_length=1, max_length=1000)]

    @field_validator(
        "graders",
        mode="before",
        json_schema_input_type=SubGrader | list[SubGrader] | dict[str, SubGrader],
    )
    @classmethod
    def _normalize_to_dict(cls, value: Any) -> Any:
        """OpenAI's schema has one grader here, one of its examples a list, its guides a map."""
        is_single = isinstance(value, dict) and isinstance(value.get("type"), str)
        graders = [value] if is_single else value
        if not isinstance(graders, list):
            return value
        by_name = {str(each.get("name")): each for each in graders if isinstance(each, dict)}
        if len(by_name) < len(graders):
            raise PydanticCustomError("names", "expected graders with distinct names")
        return by_name


Grader = Annotated[
    StringCheckGrader
    | TextSimilarityGrader
    | ScoreModelGrader
    | PythonGrader
    | ClassificationGrader
    | TranslationGrader
    | MultiGrader,
    Field(discriminator="type"),
]


class ValidateGrader(BaseModel):
    """POST /v1/fine_tuning/alpha/graders/validate; the response echoes it unchanged."""

    grader: Grader


class RunGrader(BaseModel):
    """POST /v1/fine_tuning/alpha/graders/run."""

    model_config = ConfigDict(protected_namespaces=())

    grader: Grader
    model_sample: str
    item: dict[str, Any] = Field(default_factory=dict)


class JudgeMessage(BaseModel):
    content: str | None


class JudgeChoice(BaseModel):
    message: JudgeMessage


class CachedTokens(BaseModel):
    cached_tokens: int | None = None


class JudgeUsage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int
    prompt_tokens_details: CachedTokens | None = None

    @property
    def cached_tokens(self) -> int:
        return (self.prompt_tokens_details and self.prompt_tokens_details.cached_tokens) or 0


class JudgeCompletion(BaseModel):
    """The fields of a judge's chat completion that are read."""

    choices: Annotated[list[JudgeChoice], Field(min_length=1)]
    usage: JudgeUsage


class JudgeErrorDetail(BaseModel):
    message: str


class JudgeError(BaseModel):
    """The fields of an engine's error that are read; engines differ in the rest."""

    error: JudgeErrorDetail


class GraderErrors(BaseModel):
    """Errors of a grader run; with any error, the reward is 0."""

    model_config = ConfigDict(protected_namespaces=())

    formula_parse_error: bool = False
    # An extension: OpenAI has only the flag.
    formula_parse_error_details: str | None = None
    sample_parse_error: bool = False
    truncated_observation_error: bool = False
    unresponsive_reward_error: bool = False
    invalid_variable_error: bool = False
    other_error: bool = False
    python_grader_server_error: bool = False
    python_grader_server_error_type: str | None = None
    python_grader_runtime_error: bool = False
    python_grader_runtime_error_details: str | None = None
    model_grader_server_error: bool = False
    model_grader_refusal_error: bool = False
    model_grader_parse_error: bool = False
    model_grader_server_error_details: str | None = None


class GraderMetadata(BaseModel):
    """`execution_time` is in seconds."""

    name: str
    type: str
    errors: GraderErrors
    execution_time: float
    scores: dict[str, float]
    token_usage: int | None
    sampled_model_name: str | None


class GraderRun(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    reward: float
    metadata: GraderMetadata
    sub_rewards: dict[str, float]
    model_grader_token_usage_per_model: dict[str, int]
