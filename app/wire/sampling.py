"""Fields and types that chat and text completions share."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from app.wire.base import bounded_int

FinishReason = Literal["stop", "length"]

# OpenAI's fields that have no effect on a text model's output, unless a class has them.
IGNORED_FIELDS = frozenset(
    "audio function_call metadata modalities moderation parallel_tool_calls prediction "
    "prompt_cache_key prompt_cache_options prompt_cache_retention reasoning_effort "
    "safety_identifier service_tier store tool_choice user verbosity web_search_options".split()
)


class StrictModel(BaseModel):
    """Model that rejects unknown fields and does not coerce types: "5" is not a number."""

    model_config = ConfigDict(strict=True, extra="forbid", protected_namespaces=())


class StreamOptions(StrictModel):
    include_usage: StrictBool = False
    include_obfuscation: StrictBool = False


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


# Each is prepared before the first token, and partial matches of it are held back.
MAX_STOP_CHARS = 2048

Stop = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARS)]
StopList = Annotated[list[Stop], Field(max_length=4)]
StopStrings = Annotated[
    StopList | None, BeforeValidator(_as_list, json_schema_input_type=Stop | StopList | None)
]


def _check_token_id(value: str) -> str:
    # Keys of JSON objects are strings, so a token id arrives as digits.
    if value.isascii() and value.isdigit() and len(value) <= 9:
        return value
    raise PydanticCustomError("token_id", "expected the id of a token, in digits, as the key")


LogitBias = dict[
    Annotated[str, AfterValidator(_check_token_id)], Annotated[float, Field(ge=-100, le=100)]
]


class SamplingRequest(StrictModel):
    """Sampling parameters; subclasses define the limits and number of choices."""

    model: str
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    n: int | None = Field(None, ge=1, le=128)
    stop: StopStrings = None
    seed: Annotated[int, bounded_int(-(2**63), 2**63 - 1)] | None = None
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: LogitBias | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None

    @model_validator(mode="before")
    @classmethod
    def _drop_ignored(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        ignored = IGNORED_FIELDS - cls.model_fields.keys()
        return {name: value for name, value in values.items() if name not in ignored}

    @field_validator("stream_options")
    @classmethod
    def _check_stream_options(
        cls, value: StreamOptions | None, info: ValidationInfo
    ) -> StreamOptions | None:
        if value is not None and not info.data.get("stream"):
            raise PydanticCustomError("no_stream", "it needs 'stream' to be true")
        return value

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def max_new_tokens(self) -> int | None:
        """None means up to the model's context length."""
        raise NotImplementedError

    @property
    def num_choices(self) -> int:
        """Number of continuations of the prompt."""
        raise NotImplementedError

    @property
    def num_top_logprobs(self) -> int | None:
        """Most likely tokens to return per position; None if no log-probabilities are wanted."""
        raise NotImplementedError


class PromptTokensDetails(BaseModel):
    """Parts of the prompt. `cached_tokens` did not have to be computed again."""

    audio_tokens: int
    cached_tokens: int


class CompletionTokensDetails(BaseModel):
    """Parts of the answers. `reasoning_tokens` are those up to the end of reasoning.

    Predictions of the answer are ignored, so that no token is one of an accepted or rejected one.
    """

    accepted_prediction_tokens: int
    audio_tokens: int
    reasoning_tokens: int
    rejected_prediction_tokens: int


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails

    @classmethod
    def of(
        cls,
        prompt_tokens: int,
        completion_tokens: int,
        *,
        cached_tokens: int = 0,
        reasoning_tokens: int = 0,
    ) -> "Usage":
        return cls(
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            total_tokens=prompt_tokens + completion_tokens,
            prompt_tokens_details=PromptTokensDetails(audio_tokens=0, cached_tokens=cached_tokens),
            completion_tokens_details=CompletionTokensDetails(
                accepted_prediction_tokens=0,
                audio_tokens=0,
                reasoning_tokens=reasoning_tokens,
                rejected_prediction_tokens=0,
            ),
        )
