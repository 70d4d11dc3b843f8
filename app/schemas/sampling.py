"""What requests for generated text have in common, chats and completions alike."""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from app.errors import InvalidRequest

FinishReason = Literal["stop", "length"]

# What OpenAI takes and what changes nothing in the answer of a text model.
IGNORED = frozenset(
    "audio function_call metadata modalities moderation parallel_tool_calls prediction "
    "prompt_cache_key prompt_cache_options prompt_cache_retention reasoning_effort "
    "safety_identifier service_tier store tool_choice user verbosity web_search_options".split()
)


class Strict(BaseModel):
    """Takes what it names and nothing else; "5" is no number."""

    model_config = ConfigDict(strict=True, extra="forbid", protected_namespaces=())


class StreamOptions(Strict):
    include_usage: bool = False
    include_obfuscation: bool = False


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


StopStrings = Annotated[
    list[Annotated[str, Field(min_length=1)]] | None,
    Field(max_length=4),
    BeforeValidator(_as_list),
]
# JSON's keys are strings, so a token's id comes as its digits.
Biases = dict[
    Annotated[str, Field(pattern=r"^[0-9]{1,9}$")], Annotated[float, Field(ge=-100, le=100)]
]


class SamplingRequest(Strict):
    """How to choose tokens. The subclass says how many, of how many choices."""

    model: str
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    n: int | None = Field(None, ge=1, le=128)
    stop: StopStrings = None
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: Biases | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @model_validator(mode="before")
    @classmethod
    def _drop_ignored(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if name not in IGNORED}

    @field_validator("stream_options")
    @classmethod
    def _goes_with_stream(
        cls, value: StreamOptions | None, info: ValidationInfo
    ) -> StreamOptions | None:
        if value is not None and not info.data.get("stream"):
            raise ValueError("It needs 'stream' to be true.")
        return value

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def limit(self) -> int | None:
        """Tokens to generate at most; None for as many as the model can."""
        raise NotImplementedError

    @property
    def choices(self) -> int:
        """How often the prompt is continued."""
        raise NotImplementedError

    @property
    def alternatives(self) -> int | None:
        """Likely tokens to name beside each chosen one; None if no probabilities are wanted."""
        raise NotImplementedError


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


def refusal(error: ValidationError) -> InvalidRequest:
    """The first fault of a body as the error OpenAI would answer with."""
    fault = error.errors(include_url=False, include_input=False)[0]
    param = _param(fault["loc"])
    if param is None:
        return InvalidRequest("We could not parse the body of your request as a JSON object.")
    if fault["type"] == "missing":
        message = f"Missing required parameter: '{param}'."
        return InvalidRequest(message, param=param, code="missing_required_parameter")
    if fault["type"] == "extra_forbidden":
        message = f"Unknown parameter: '{param}'."
        return InvalidRequest(message, param=param, code="unknown_parameter")
    reason = fault["msg"].removeprefix("Value error, ")
    message = f"Invalid value for '{param}': {reason}"
    return InvalidRequest(message, param=param, code="invalid_value")


def _param(place: tuple[int | str, ...]) -> str | None:
    """`('messages', 0, 'content')` as `messages[0].content`."""
    text = ""
    for part in place:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part != "[key]":  # pydantic's word for a fault in a dict's key, which comes before it
            text += f".{part}" if text else part
    return text or None
