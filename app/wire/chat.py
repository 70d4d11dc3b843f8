"""Chat completions on the wire, as far as the API reads them; the engine validates the rest."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from app.wire.base import Metadata
from app.wire.chat_messages import MAX_MESSAGES
from app.wire.chat_schema import (
    DOCUMENTED_MESSAGE,
    FunctionCallChoice,
    ToolChoiceParam,
    as_in_engine,
    documented_as,
)
from app.wire.engine import ChoiceLogprobs
from app.wire.refusals import refusal
from app.wire.sampling import IGNORED_FIELDS, Usage
from app.wire.template_switches import TemplateSwitches
from app.wire.tools import MAX_TOOLS, CalledFunction, ToolCall
from app.wire.validation_errors import MAX_ECHOED_INPUT_LENGTH

# Unknown fields that an error names.
MAX_NAMED_FIELDS = 8
# OpenAI's fields that have no effect on the answer, and what the API itself does.
NOT_FORWARDED = IGNORED_FIELDS - {
    "function_call",
    "parallel_tool_calls",
    "reasoning_effort",
    "tool_choice",
    "user",
}
ChatFinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


def _is_text_part(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") in ("text", "refusal")


class ChatMessage(BaseModel):
    model_config = ConfigDict(extra="allow")

    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: Any = None

    @field_validator("content")
    @classmethod
    def _check_text_only(cls, content: Any) -> Any:
        if content is None or isinstance(content, str):
            return content
        # SSRF: an engine would fetch an image part's URL from inside the operator's network.
        if isinstance(content, list) and all(_is_text_part(part) for part in content):
            return content
        rule = "expected text, or a list of content parts of type 'text'"
        raise PydanticCustomError("not_text", rule)


def _check_number_of_tools(tools: Any) -> Any:
    if isinstance(tools, list) and len(tools) > MAX_TOOLS:
        rule = f"expected at most {MAX_TOOLS} item(s)"
        raise PydanticCustomError("too_many_tools", "{rule}", {"rule": rule})
    return tools


CheckedNumber = AfterValidator(_check_number_of_tools)
Ignored = Annotated[Any, Field(description="Accepted for compatibility; it has no effect here.")]


class CreateChatCompletion(BaseModel):
    """POST /v1/chat/completions. Only known fields are forwarded to the engine.

    An allow-list, because engines have fields of their own that are unsafe to forward (chat
    templates, prompt embeddings, regular expressions).
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: str = Field(max_length=256)
    messages: list[Annotated[ChatMessage, DOCUMENTED_MESSAGE]] = Field(
        min_length=1, max_length=MAX_MESSAGES, fail_fast=True
    )
    stream: StrictBool | None = None
    stream_options: Annotated[Any, as_in_engine("stream_options")] = None
    max_tokens: Annotated[Any, as_in_engine("max_tokens")] = None
    max_completion_tokens: Annotated[Any, as_in_engine("max_completion_tokens")] = None
    temperature: Annotated[Any, as_in_engine("temperature")] = None
    top_p: Annotated[Any, as_in_engine("top_p")] = None
    n: Annotated[Any, as_in_engine("n")] = None
    stop: Annotated[Any, as_in_engine("stop")] = None
    seed: Annotated[Any, as_in_engine("seed")] = None
    presence_penalty: Annotated[Any, as_in_engine("presence_penalty")] = None
    frequency_penalty: Annotated[Any, as_in_engine("frequency_penalty")] = None
    logit_bias: Annotated[Any, as_in_engine("logit_bias")] = None
    logprobs: Annotated[Any, as_in_engine("logprobs")] = None
    top_logprobs: Annotated[Any, as_in_engine("top_logprobs")] = None
    response_format: Annotated[Any, as_in_engine("response_format")] = None
    tools: Annotated[Any, as_in_engine("tools"), CheckedNumber] = None
    tool_choice: Annotated[Any, documented_as(ToolChoiceParam | None)] = None
    parallel_tool_calls: Annotated[Any, as_in_engine("parallel_tool_calls")] = None
    functions: Annotated[Any, as_in_engine("functions"), CheckedNumber] = None
    function_call: Annotated[Any, documented_as(FunctionCallChoice | None)] = None
    reasoning_effort: Annotated[Any, as_in_engine("reasoning_effort")] = None
    chat_template_kwargs: TemplateSwitches | None = None
    user: Annotated[Any, documented_as(str | None)] = None
    store: StrictBool | None = None
    metadata: Metadata | None = None
    audio: Ignored = None
    modalities: Ignored = None
    moderation: Ignored = None
    prediction: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_options: Ignored = None
    prompt_cache_retention: Ignored = None
    safety_identifier: Ignored = None
    service_tier: Ignored = None
    verbosity: Ignored = None
    web_search_options: Ignored = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, body: Any) -> Any:
        """Answer as OpenAI does, whose clients match the sentence."""
        unknown = sorted(body.keys() - cls.model_fields.keys()) if isinstance(body, dict) else []
        if not unknown:
            return body
        names = ", ".join(name[:MAX_ECHOED_INPUT_LENGTH] for name in unknown[:MAX_NAMED_FIELDS])
        raise refusal(
            f"Unrecognized request argument{'s' if len(unknown) > 1 else ''} supplied: {names}",
            param=unknown[0][:MAX_ECHOED_INPUT_LENGTH],
            code="unknown_parameter",
        )

    @model_validator(mode="after")
    def _check_metadata(self) -> Self:
        if self.metadata and not self.store:
            raise refusal(
                "The 'metadata' parameter is only allowed when 'store' is enabled.",
                param="metadata",
            )
        return self

    def to_engine_request(self, model: str) -> dict[str, Any]:
        """Body for the engine, which knows the model by the name `model`."""
        fields = self.model_dump(exclude_unset=True, exclude=set(NOT_FORWARDED))
        return {name: value for name, value in fields.items() if value is not None} | {
            "model": model
        }


class ChatCompletionMessage(BaseModel):
    """`content` is null if the model calls tools."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None = None
    annotations: list[dict[str, Any]] | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: CalledFunction | None = None
    reasoning_content: str | None = None


class ChatCompletionChoice(BaseModel):
    index: int
    message: ChatCompletionMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: ChatFinishReason


class ChatCompletionResponse(BaseModel):
    """An engine's response, which is forwarded without being parsed; some engines add fields."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatCompletionChoice]
    usage: Usage
    service_tier: str | None = None
    system_fingerprint: str | None = None
