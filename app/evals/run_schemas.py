"""Request and response bodies of eval runs and their output items."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from app.db.tables import EvalRunState, OutputItemStatus
from app.graders.schemas import ModelMessage
from app.jobs.schemas import NonBlankName
from app.wire.base import CursorListing, DisplayName, Metadata, UnixTime, max_items
from app.wire.tools import MAX_TOOLS

MAX_ITEMS = 10_000
MAX_MESSAGES = 256


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


class StoredSource(BaseModel):
    """Not supported yet."""

    type: Literal["stored_completions", "responses"]

    @field_validator("type")
    @classmethod
    def _reject(cls, value: str) -> str:
        rule = "this service reads items from 'file_content' and 'file_id' only"
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


class RunSamplingParams(BaseModel):
    """Sampling parameters. The model's engine checks those that depend on the model."""

    model_config = ConfigDict(extra="forbid")

    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(ge=0, le=1)] = 1.0
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] = 42
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    reasoning_effort: str | None = None
    response_format: dict[str, Any] | None = None
    tools: Annotated[list[dict[str, Any]], max_items(MAX_TOOLS, "tools")] | None = None


class JsonlDataSource(BaseModel):
    """Items whose samples, if any, they bring themselves."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["jsonl"]
    source: Annotated[FileContentSource | FileIdSource, Field(discriminator="type")]


class CompletionsDataSource(BaseModel):
    """Items for each of which a model is sampled."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["completions"]
    model: NonBlankName
    source: Annotated[FileContentSource | FileIdSource | StoredSource, Field(discriminator="type")]
    input_messages: Annotated[TemplateMessages | ItemReference, Field(discriminator="type")]
    sampling_params: RunSamplingParams = Field(default_factory=RunSamplingParams)


class ResponsesDataSource(BaseModel):
    """Not supported yet."""

    type: Literal["responses"]

    @field_validator("type")
    @classmethod
    def _reject(cls, value: str) -> str:
        rule = "this service samples by 'completions'; its templates and sampling are the same"
        raise PydanticCustomError("responses", rule)


class CreateEvalRun(BaseModel):
    """Body of POST /v1/evals/{eval_id}/runs."""

    model_config = ConfigDict(extra="forbid")

    name: DisplayName | None = None
    metadata: Metadata | None = None
    data_source: Annotated[
        JsonlDataSource | CompletionsDataSource | ResponsesDataSource, Field(discriminator="type")
    ]


class RunError(BaseModel):
    """Empty texts if there is no error, as OpenAI's clients expect an object."""

    code: str = ""
    message: str = ""


class ResultCounts(BaseModel):
    total: int
    errored: int
    failed: int
    passed: int


class ModelUsage(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    model_name: str
    invocation_count: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int


class CriterionResults(BaseModel):
    """Items by the result of one criterion. `errored` and `metrics` are extensions: the metrics of
    `classification` and `translation` are those of all items together."""

    testing_criteria: str
    passed: int
    failed: int
    errored: int
    metrics: dict[str, Any] | None = None


class EvalRunObject(BaseModel):
    """A run. Counts grow while it is in progress."""

    id: str
    object: Literal["eval.run"] = "eval.run"
    eval_id: str
    created_at: UnixTime
    status: EvalRunState
    name: str
    model: str
    report_url: str
    result_counts: ResultCounts
    per_model_usage: list[ModelUsage]
    per_testing_criteria_results: list[CriterionResults]
    data_source: dict[str, Any]
    metadata: dict[str, str] | None
    error: RunError


class EvalRunList(CursorListing):
    data: list[EvalRunObject]


class EvalRunDeleted(BaseModel):
    object: Literal["eval.run.deleted"] = "eval.run.deleted"
    deleted: bool
    run_id: str


class OutputItemObject(BaseModel):
    """What one item gave. A result has an `error` if its criterion could not be computed."""

    id: str
    object: Literal["eval.run.output_item"] = "eval.run.output_item"
    run_id: str
    eval_id: str
    created_at: UnixTime
    status: OutputItemStatus
    datasource_item_id: int
    datasource_item: dict[str, Any]
    results: list[dict[str, Any]]
    sample: dict[str, Any]


class OutputItemList(CursorListing):
    data: list[OutputItemObject]
