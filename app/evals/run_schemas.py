"""Request and response bodies of eval runs and their output items."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from app.db.tables import EvalRunState, OutputItemStatus
from app.evals.run_sources import DataSource
from app.wire.base import CursorListing, DisplayName, Metadata, UnixTime


class CreateEvalRun(BaseModel):
    """Body of POST /v1/evals/{eval_id}/runs."""

    model_config = ConfigDict(extra="forbid")

    name: DisplayName | None = None
    metadata: Metadata | None = None
    data_source: DataSource


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
    """Output of one item. A result has an `error` if its criterion could not be computed."""

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
