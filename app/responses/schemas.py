"""Request and response bodies of /v1/responses."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from app.responses.tools import ToolChoice, Tools
from app.wire.base import CursorListing, Metadata, bounded_int, max_items
from app.wire.items import ItemList, ReferenceId
from app.wire.refusals import refusal
from app.wire.response_format import FormatName
from app.wire.sampling import StrictModel

MAX_TOKENS = 2**31 - 1
# OpenAI's; a limit below leaves no room for an answer.
MIN_OUTPUT_TOKENS = 16
LOGPROBS = "message.output_text.logprobs"
Includable = Literal[
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
]
ResponseStatus = Literal["completed", "failed", "in_progress", "cancelled", "queued", "incomplete"]


def _to_items(value: Any) -> Any:
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


Input = Annotated[ItemList, BeforeValidator(_to_items, json_schema_input_type=str | ItemList)]


def _not_here(reason: str) -> PlainValidator:
    """Refuse a field of OpenAI's that would change the answer, unless it is null."""

    def check(value: Any) -> None:
        if value is not None:
            raise PydanticCustomError("not_supported", "{reason}", {"reason": reason})

    return PlainValidator(check, json_schema_input_type=None)


class TextFormat(StrictModel):
    type: Literal["text"]


class JsonObjectFormat(StrictModel):
    """Any JSON object. The input must mention JSON."""

    type: Literal["json_object"]


class JsonSchemaFormat(StrictModel):
    """JSON of a schema, by which the answer is made."""

    type: Literal["json_schema"]
    name: FormatName
    # `schema` is a method of pydantic's models.
    json_schema: dict[str, Any] = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


class TextOptions(StrictModel):
    format: (
        Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]
        | None
    ) = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningOptions(StrictModel):
    """`effort` is a switch of the model's template; reasoning is not summarized here."""

    effort: Annotated[str, Field(max_length=16)] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    context: Literal["auto", "current_turn", "all_turns"] | None = None
    mode: Literal["standard"] | None = None


class ResponseStreamOptions(StrictModel):
    include_obfuscation: bool = False


Ignored = Annotated[Any, Field(description="Accepted for compatibility; it has no effect here.")]
ShortText = Annotated[str, Field(max_length=512)]


class ConversationParam(StrictModel):
    id: ReferenceId


class ResponseContext(StrictModel):
    """Input of the model whose tokens are counted."""

    model: str = Field(max_length=256)
    input: Input | None = None
    instructions: str | None = None
    previous_response_id: ReferenceId | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice = None
    parallel_tool_calls: bool | None = None
    reasoning: ReasoningOptions | None = None
    text: TextOptions | None = None
    truncation: Literal["auto", "disabled"] | None = Field(
        None,
        description="With `auto`, the oldest turns are dropped until the model's context has room "
        "for an answer.",
    )
    conversation: Annotated[
        str | None,
        BeforeValidator(
            lambda value: _to_conversation_id(value),
            json_schema_input_type=ReferenceId | ConversationParam | None,
        ),
        Field(description="Its items come before the input; it gets those of request and answer."),
    ] = None

    @model_validator(mode="after")
    def _check_has_input(self) -> Self:
        if self.previous_response_id is not None and self.conversation is not None:
            raise refusal(
                "Mutually exclusive parameters: 'previous_response_id' and 'conversation'. Ensure "
                "you are only providing one of them.",
                param="previous_response_id",
                code="mutually_exclusive_parameters",
            )
        if not self.input and self.previous_response_id is None and self.conversation is None:
            raise refusal(
                "Missing required parameter: 'input'.",
                param="input",
                code="missing_required_parameter",
            )
        return self


def _to_conversation_id(value: Any) -> Any:
    match value:
        case {"id": str(conversation_id)} if len(value) == 1:
            return conversation_id
        case None | str():
            return value
    raise PydanticCustomError("conversation", 'expected the id of a conversation, or {"id": …}')


class CreateResponse(ResponseContext):
    """POST /v1/responses."""

    background: bool | None = None
    background_options: Ignored = None
    context_management: Annotated[None, _not_here("contexts are not compacted here")] = None
    image: Ignored = None
    include: Annotated[list[Includable], max_items(16, "names")] | None = None
    max_output_tokens: Annotated[int, bounded_int(MIN_OUTPUT_TOKENS, MAX_TOKENS)] | None = None
    max_tool_calls: Annotated[int, bounded_int(1, MAX_TOKENS)] | None = None
    metadata: Metadata | None = None
    moderation: Annotated[None, _not_here("answers are not moderated here")] = None
    prompt: Annotated[
        None, _not_here("prompts are not kept here; send 'instructions' and 'input'")
    ] = None
    prompt_cache_key: ShortText | None = None
    prompt_cache_options: Ignored = None
    prompt_cache_retention: Ignored = None
    access_programs: Ignored = None
    safety_identifier: ShortText | None = None
    service_tier: Ignored = None
    store: bool | None = Field(
        None,
        description="Whether the response is stored. If the operator has turned that off "
        "(LUTHIER_STORED_COMPLETIONS=false), the default is false, and true is a 400.",
    )
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_logprobs: Annotated[int, bounded_int(0, 20)] | None = None
    top_p: float | None = Field(None, ge=0, le=1)
    user: ShortText | None = None

    @property
    def wants_logprobs(self) -> bool:
        return LOGPROBS in (self.include or ()) or bool(self.top_logprobs)


class CountInputTokens(ResponseContext):
    """POST /v1/responses/input_tokens."""

    personality: Ignored = None

    def to_request(self) -> CreateResponse:
        """A request with the same context, which is not stored."""
        context = {name: getattr(self, name) for name in ResponseContext.model_fields}
        return CreateResponse.model_construct(**context, store=False)


class InputTokens(BaseModel):
    object: Literal["response.input_tokens"]
    input_tokens: int


class InputTokensDetails(BaseModel):
    cached_tokens: int
    cache_write_tokens: int


class OutputTokensDetails(BaseModel):
    reasoning_tokens: int


class ResponseUsage(BaseModel):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class ResponseError(BaseModel):
    code: str
    message: str


class IncompleteDetails(BaseModel):
    reason: Literal["max_output_tokens", "content_filter"]


class ResponseItem(BaseModel):
    """A message, a function call or its result, or reasoning; the fields depend on `type`."""

    model_config = ConfigDict(extra="allow")

    id: str
    type: Literal["message", "function_call", "function_call_output", "reasoning"]


class ConversationOfResponse(BaseModel):
    id: str


class Response(BaseModel):
    """A response. What the request has set is sent back."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: ResponseStatus
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    model: str
    output: list[ResponseItem]
    usage: ResponseUsage | None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: dict[str, str]
    parallel_tool_calls: bool
    conversation: ConversationOfResponse | None
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: dict[str, Any]
    safety_identifier: str | None
    service_tier: Literal["default"]
    store: bool
    temperature: float
    text: dict[str, Any]
    tool_choice: Any
    tools: list[dict[str, Any]]
    top_logprobs: int
    top_p: float
    truncation: Literal["auto", "disabled"]
    background: bool
    user: str | None


class InputItemList(CursorListing):
    data: list[ResponseItem]


class ResponseDeleted(BaseModel):
    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True
