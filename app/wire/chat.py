"""Chat completions on the wire, as far as the API reads them; the engine validates the rest."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, field_validator
from pydantic_core import PydanticCustomError

from app.wire.chat_messages import MAX_MESSAGES
from app.wire.engine import ChoiceLogprobs
from app.wire.sampling import Usage
from app.wire.template_switches import TemplateSwitches
from app.wire.tools import MAX_TOOLS, CalledFunction, ToolCall

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


# The engine validates the rest.
Tools = Annotated[Any, AfterValidator(_check_number_of_tools)]


class CreateChatCompletion(BaseModel):
    """POST /v1/chat/completions. Only these fields are forwarded to the engine.

    An allow-list, because engines have fields of their own that are unsafe to forward (chat
    templates, prompt embeddings, regular expressions).
    """

    model_config = ConfigDict(protected_namespaces=())

    model: str = Field(max_length=256)
    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)
    stream: StrictBool | None = None
    stream_options: Any = None
    max_tokens: Any = None
    max_completion_tokens: Any = None
    temperature: Any = None
    top_p: Any = None
    n: Any = None
    stop: Any = None
    seed: Any = None
    presence_penalty: Any = None
    frequency_penalty: Any = None
    logit_bias: Any = None
    logprobs: Any = None
    top_logprobs: Any = None
    response_format: Any = None
    tools: Tools = None
    tool_choice: Any = None
    parallel_tool_calls: Any = None
    functions: Tools = None
    function_call: Any = None
    reasoning_effort: Any = None
    chat_template_kwargs: TemplateSwitches | None = None
    user: Any = None

    def to_engine_request(self, model: str) -> dict[str, Any]:
        """Body for the engine, which knows the model by the name `model`."""
        fields = self.model_dump(exclude_unset=True)
        return {name: value for name, value in fields.items() if value is not None} | {
            "model": model
        }


class ChatCompletionMessage(BaseModel):
    """`content` is null if the model calls tools."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None = None
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
