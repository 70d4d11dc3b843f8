"""Wire between the API and an engine: OpenAI's, so that vLLM can replace our engine."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from app.wire.chat_messages import MAX_MESSAGES, RequestMessage
from app.wire.refusals import refusal
from app.wire.response_format import ResponseFormat
from app.wire.sampling import FinishReason, SamplingRequest, StrictModel, Usage
from app.wire.template_switches import TemplateSwitches, join_switches
from app.wire.tool_results import check_tool_results
from app.wire.tools import (
    AUTO,
    CalledFunction,
    FunctionCallField,
    FunctionDelta,
    Functions,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    ToolChoiceField,
    Tools,
    check_choice,
)

# Calls per answer, of which a model may otherwise write thousands.
MAX_CALLS = 128

ChatFinishReason = FinishReason | Literal["tool_calls", "function_call"]


class ChatCompletionRequest(SamplingRequest):
    """POST /v1/chat/completions."""

    messages: list[RequestMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    max_completion_tokens: int | None = Field(None, ge=1)
    max_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    response_format: ResponseFormat | None = None
    tools: Tools | None = None
    tool_choice: ToolChoiceField = None
    parallel_tool_calls: bool | None = None
    functions: Functions | None = None
    function_call: FunctionCallField = None
    reasoning_effort: Annotated[str, Field(max_length=16)] | None = None
    chat_template_kwargs: TemplateSwitches | None = None
    # Not a field of OpenAI's chats: the API sends it for a response.
    truncation: Literal["auto"] | None = None

    @field_validator("top_logprobs")
    @classmethod
    def _check_top_logprobs(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and not info.data.get("logprobs"):
            raise PydanticCustomError("no_logprobs", "it needs 'logprobs' to be true")
        return value

    @model_validator(mode="after")
    def _check_choice(self) -> Self:
        if self.tools and self.functions:
            rule = "Invalid 'functions': expected 'tools' or 'functions', but not both."
            raise refusal(rule, param="functions", code="invalid_value")
        tools = None if self.tools is None else [tool.function for tool in self.tools]
        check_choice("tool_choice", self.tool_choice, tools)
        check_choice("function_call", self.function_call, self.functions)
        return self

    @model_validator(mode="after")
    def _check_history(self) -> Self:
        check_tool_results(self.messages)
        return self

    @property
    def choice(self) -> ToolChoice:
        """The choice of functions to call; the newer field wins."""
        return self.tool_choice or self.function_call or AUTO

    @property
    def tool_definitions(self) -> list[dict[str, Any]]:
        """Tools and legacy functions, as tools."""
        functions = [{"type": "function", "function": each.sent} for each in self.functions or ()]
        return [*(tool.sent for tool in self.tools or ()), *functions]

    @property
    def function_definitions(self) -> list[dict[str, Any]]:
        return [tool["function"] for tool in self.tool_definitions]

    @property
    def callable_functions(self) -> dict[str, dict[str, Any]]:
        """The parameters of each function that may be called."""
        if self.choice.mode == "none":
            return {}
        return {
            function["name"]: function.get("parameters") or {}
            for function in self.function_definitions
            if self.choice.names is None or function["name"] in self.choice.names
        }

    @property
    def max_calls(self) -> int:
        """Calls per answer. The legacy form has one."""
        return 1 if self.functions or self.parallel_tool_calls is False else MAX_CALLS

    @property
    def switches(self) -> dict[str, Any]:
        return join_switches(self.chat_template_kwargs, self.reasoning_effort)

    @property
    def max_new_tokens(self) -> int | None:
        """The newer field wins if both are set."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def num_choices(self) -> int:
        return self.n or 1

    @property
    def num_top_logprobs(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None


class TokenLogprob(BaseModel):
    token: str
    logprob: float
    bytes: list[int] | None


class ContentLogprob(TokenLogprob):
    top_logprobs: list[TokenLogprob]


class ChoiceLogprobs(BaseModel):
    content: list[ContentLogprob]
    refusal: None


class AssistantMessage(BaseModel):
    """Fields that are not set are not sent."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    # Citations of web pages, which no model here makes.
    annotations: list[dict[str, Any]]
    # As vLLM and others have it; OpenAI's API does not return reasoning.
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: CalledFunction | None = None


class Choice(BaseModel):
    index: int
    message: AssistantMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: ChatFinishReason


class ChatCompletion(BaseModel):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    service_tier: Literal["default"]
    system_fingerprint: str


class Delta(BaseModel):
    """Increment of a choice; unset fields are not sent."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    refusal: None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallDelta] | None = None
    function_call: FunctionDelta | None = None


class ChunkChoice(BaseModel):
    index: int
    delta: Delta
    logprobs: ChoiceLogprobs | None
    finish_reason: ChatFinishReason | None


class ChatCompletionChunk(BaseModel):
    """`usage` is sent, possibly as null, only if the request asked for it."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    service_tier: Literal["default"]
    system_fingerprint: str
    usage: Usage | None = None


class LoadAdapterRequest(StrictModel):
    """POST /v1/load_lora_adapter. `lora_path` is the storage prefix of the adapter's files."""

    lora_name: str = Field(min_length=1, max_length=512)
    lora_path: str = Field(min_length=1, max_length=1024)
    base_model_name: str


class CheckTrainingRowsRequest(StrictModel):
    """POST /v1/check_training_rows. The rows of a training file from number `first` on.

    `max_tokens` is the length of the job's rows, where it is shorter than the model's context.
    """

    model: str
    format: str
    first: int = Field(ge=1)
    rows: list[dict[str, Any]]
    max_tokens: int | None = Field(None, ge=1)


class TrainingRowsReport(StrictModel):
    """Result of rendering rows until one has something to learn.

    `num_turns` counts the assistant's turns without, `max_tokens` is the length of a row, and
    `error` the reason why a row cannot be rendered at all.
    """

    is_learned: bool
    num_turns: int
    max_tokens: int
    error: str | None = None


class UnloadAdapterRequest(StrictModel):
    """POST /v1/unload_lora_adapter.

    With `lora_path` the adapter's files are deleted from the engine's disk even if it does not
    know the name, as after a restart.
    """

    lora_name: str = Field(min_length=1, max_length=512)
    lora_path: str | None = Field(default=None, min_length=1, max_length=1024)


class EngineModel(BaseModel):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class EngineModelList(BaseModel):
    object: Literal["list"]
    data: list[EngineModel]
