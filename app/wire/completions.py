"""Legacy text completions on the wire: a prompt without roles."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, StrictBool, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from app.wire.base import TokenIds, normalize_inputs
from app.wire.response_format import ResponseFormat
from app.wire.sampling import FinishReason, SamplingRequest, Usage

# OpenAI's default, on which some callers rely.
DEFAULT_MAX_TOKENS = 16
# Per request; each prompt may have several choices.
MAX_PROMPTS = 128


def _normalize_prompts(value: Any) -> Any:
    # OpenAI's default is the token that begins a text, which an empty text becomes here.
    return [""] if value is None else normalize_inputs(value)


PromptList = Annotated[list[str | TokenIds], Field(min_length=1, max_length=MAX_PROMPTS)]
Prompts = Annotated[
    PromptList,
    BeforeValidator(_normalize_prompts, json_schema_input_type=str | TokenIds | PromptList | None),
]


class CompletionRequest(SamplingRequest):
    """POST /v1/completions, to the API and to the engine.

    The engine generates `best_of` continuations and returns the `n` with the highest mean
    log-probability per token.
    """

    prompt: Prompts = Field(None, validate_default=True)
    max_tokens: int | None = Field(None, ge=0)
    best_of: int | None = Field(None, ge=0, le=20)
    echo: StrictBool | None = None
    logprobs: int | None = Field(None, ge=0, le=5)
    suffix: str | None = None
    # Not in OpenAI's legacy completions.
    response_format: ResponseFormat | None = None

    @field_validator("best_of")
    @classmethod
    def _check_best_of(cls, value: int | None, info: ValidationInfo) -> int | None:
        n = info.data.get("n") or 1
        # OpenAI allows 0, which has no effect.
        if not value:
            return None
        if value < n:
            raise PydanticCustomError("too_few", "it must be at least 'n'")
        if value > n and info.data.get("stream"):
            raise PydanticCustomError("no_stream", "it cannot be greater than 'n' in a stream")
        return value

    @field_validator("suffix")
    @classmethod
    def _reject_suffix(cls, value: str | None) -> None:
        if value:
            raise PydanticCustomError("unsupported", "the models served here cannot insert text")

    @property
    def max_new_tokens(self) -> int:
        return DEFAULT_MAX_TOKENS if self.max_tokens is None else self.max_tokens

    @property
    def num_choices(self) -> int:
        return self.best_of or self.n or 1

    @property
    def num_top_logprobs(self) -> int | None:
        if self.logprobs is None and self.num_choices > (self.n or 1):
            # The best continuation is chosen by log-probability.
            return 0
        return self.logprobs


class CompletionLogprobs(BaseModel):
    """One entry per token; the first token of a prompt has no probability."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]


class CompletionChoice(BaseModel):
    text: str
    index: int
    logprobs: CompletionLogprobs | None
    finish_reason: FinishReason | None


class Completion(BaseModel):
    """The response, or one event of a streamed one; an unset `usage` is left out."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None = None
