"""Data sources of eval runs: where the items come from, and how a model is sampled for each."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from app.graders.schemas import ModelMessage
from app.jobs.schemas import NonBlankName
from app.wire.base import Metadata, max_items
from app.wire.tools import MAX_TOOLS

MAX_ITEMS = 10_000
MAX_MESSAGES = 256
UnixSeconds = Annotated[int, Field(ge=0, lt=2**40)]


class Row(BaseModel):
    """One item, and perhaps what a model has given for it."""

    model_config = ConfigDict(extra="forbid")

    item: dict[str, Any]
    sample: dict[str, Any] | None = None


class FileContentSource(BaseModel):
    """Items in the request itself."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["file_content"]
    content: Annotated[
        list[Row], Field(min_length=1, fail_fast=True), max_items(MAX_ITEMS, "items")
    ]


class FileIdSource(BaseModel):
    """Items in the lines of a file of the purpose `evals`."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["file_id"]
    id: NonBlankName


class StoredCompletionsSource(BaseModel):
    """The newest `limit` stored chat completions that match, oldest first.

    An item has the messages of the request as `input`, and the answer's text as `output`.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    type: Literal["stored_completions"]
    metadata: Metadata | None = None
    model: NonBlankName | None = None
    created_after: UnixSeconds | None = None
    created_before: UnixSeconds | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_ITEMS)] | None = None


class StoredResponsesSource(BaseModel):
    """Not available."""

    type: Literal["responses"]

    @field_validator("type")
    @classmethod
    def _reject(cls, value: str) -> str:
        rule = "stored responses cannot be read; use 'stored_completions', or a file of items"
        raise PydanticCustomError("stored_source", rule)


class TemplateMessages(BaseModel):
    """Messages with variables of the item."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["template"]
    template: Annotated[
        list[ModelMessage], Field(min_length=1, fail_fast=True), max_items(MAX_MESSAGES, "messages")
    ]


class ItemReference(BaseModel):
    """The path of the messages in each item, such as `item.input`."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["item_reference"]
    item_reference: Annotated[str, Field(max_length=1024)]


DEFAULT_MESSAGES = ItemReference(type="item_reference", item_reference="item.input")
InputMessages = Annotated[TemplateMessages | ItemReference, Field(discriminator="type")]


class CommonSamplingParams(BaseModel):
    """Sampling parameters. The model's engine checks those that depend on the model."""

    # Strict: true is no number.
    model_config = ConfigDict(extra="forbid", strict=True)

    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(ge=0, le=1)] = 1.0
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] = 42
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    reasoning_effort: str | None = None


class RunSamplingParams(CommonSamplingParams):
    """Sampling parameters of chat completions."""

    response_format: dict[str, Any] | None = None
    tools: Annotated[list[dict[str, Any]], max_items(MAX_TOOLS, "tools")] | None = None


class FunctionTool(BaseModel):
    """A function in the flat form of the Responses API."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["function"]
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class TextConfig(BaseModel):
    """The format of the answer's text, with the JSON schema beside its type."""

    model_config = ConfigDict(extra="forbid")

    format: dict[str, Any] | None = None
    verbosity: str | None = None


class ResponsesSamplingParams(CommonSamplingParams):
    """Sampling parameters in the form of the Responses API. Tools are functions."""

    text: TextConfig | None = None
    tools: Annotated[list[FunctionTool], max_items(MAX_TOOLS, "tools")] | None = None

    def to_chat(self) -> RunSamplingParams:
        common = self.model_dump(exclude_none=True, exclude={"text", "tools"})
        tools = [
            {"type": "function", "function": tool.model_dump(exclude_none=True, exclude={"type"})}
            for tool in self.tools or ()
        ]
        form = None if self.text is None else self.text.format
        return RunSamplingParams(
            **common, tools=tools or None, response_format=None if form is None else _to_chat(form)
        )


def _to_chat(form: dict[str, Any]) -> dict[str, Any]:
    if form.get("type") != "json_schema":
        return form
    return {
        "type": "json_schema",
        "json_schema": {name: value for name, value in form.items() if name != "type"},
    }


class JsonlDataSource(BaseModel):
    """Items whose samples, if any, they bring themselves."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["jsonl"]
    source: Annotated[FileContentSource | FileIdSource, Field(discriminator="type")]


class SampledDataSource(BaseModel):
    """Base of sources for each of whose items a model is sampled; without `model`, none is.

    The messages are by default those of `item.input`, as stored completions have them.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: NonBlankName | None = None
    input_messages: InputMessages | None = None


class CompletionsDataSource(SampledDataSource):
    """Items for each of which a model is sampled, as by /v1/chat/completions."""

    type: Literal["completions"]
    source: Annotated[
        FileContentSource | FileIdSource | StoredCompletionsSource, Field(discriminator="type")
    ]
    sampling_params: RunSamplingParams = Field(default_factory=RunSamplingParams)


class ResponsesDataSource(SampledDataSource):
    """Items for each of which a model is sampled, with parameters as of the Responses API."""

    type: Literal["responses"]
    source: Annotated[
        FileContentSource | FileIdSource | StoredResponsesSource, Field(discriminator="type")
    ]
    sampling_params: ResponsesSamplingParams = Field(default_factory=ResponsesSamplingParams)


DataSource = Annotated[
    JsonlDataSource | CompletionsDataSource | ResponsesDataSource, Field(discriminator="type")
]


class Sampling(BaseModel):
    """Settings of sampling a model for an item."""

    input_messages: InputMessages
    params: RunSamplingParams


def find_sampling(source: DataSource) -> Sampling | None:
    """Find how a source samples its model; None if the items bring their samples."""
    if isinstance(source, JsonlDataSource) or source.model is None:
        return None
    messages = source.input_messages or DEFAULT_MESSAGES
    params = source.sampling_params
    chat = params.to_chat() if isinstance(params, ResponsesSamplingParams) else params
    return Sampling(input_messages=messages, params=chat)
