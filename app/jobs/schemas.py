"""Request and response bodies of fine-tuning jobs, their events and checkpoints."""

import re
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import PydanticCustomError

from app.db.tables import AttemptEnd, JobState
from app.jobs.hyperparameter_values import Auto
from app.jobs.hyperparameters import Hyperparameters, Method, merge, validate_known
from app.wire.base import CursorListing, Listing, Metadata, UnixTime, bounded_int, max_items

JobStatus = Literal[
    "validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"
]

# The suffix becomes part of the model's name, which is part of URLs: so no colon, which separates
# the parts of the name, and no character with a meaning in a URL, such as / ? # %.
SUFFIX_PATTERN = r"[\w .,;!@$&'()*+=~-]{1,64}"


def _validate_suffix(value: str) -> str:
    # A model's name with blanks only between its colons would look like one without a suffix.
    if re.fullmatch(SUFFIX_PATTERN, value) and value.strip():
        return value
    rule = (
        "expected 1 to 64 letters, digits, spaces and . , ; ! @ $ & ' ( ) * + = ~ _ -, and not "
        "spaces alone, since it becomes part of the model's name"
    )
    raise PydanticCustomError("suffix", rule)


def _validate_name(value: str) -> str:
    if value.strip():
        return value
    raise PydanticCustomError("name", "expected a name or an id")


def _is_none(value: object) -> bool:
    return value is None


# Ids and model names; errors repeat them.
NonBlankName = Annotated[str, Field(max_length=256), AfterValidator(_validate_name)]
Suffix = Annotated[
    str,
    AfterValidator(_validate_suffix),
    WithJsonSchema({"type": "string", "pattern": f"^{SUFFIX_PATTERN}$"}),
]
WandbName = Annotated[str, Field(min_length=1, max_length=128)]
WandbTag = Annotated[str, Field(min_length=1, max_length=64)]


class Wandb(BaseModel):
    """A Weights & Biases run. `name` defaults to the job's id, `entity` to the API key's."""

    model_config = ConfigDict(extra="allow")

    project: WandbName
    name: WandbName | None = None
    entity: WandbName | None = None
    tags: Annotated[list[WandbTag], max_items(50, "tags")] = []


class Integration(BaseModel):
    """An integration of a job. Unknown fields of it and of its run are kept, so that
    `unknown_fields` can report them."""

    model_config = ConfigDict(extra="allow")

    type: Literal["wandb"]
    wandb: Wandb

    def to_stored(self) -> dict[str, Any]:
        """Dump the known fields, as a job has them."""
        return {"type": self.type, "wandb": self.wandb.model_dump(include={*Wandb.model_fields})}


Integrations = Annotated[list[Integration], max_items(5, "integrations")]


# Beside the metrics that are always computed.
TestMetrics = Annotated[list[Literal["bleu", "chrf"]], max_items(2, "metrics")]


MAX_EVALUATIONS = 5


class AttachedEval(BaseModel):
    """An eval of the project, on which the model is compared with its base model."""

    model_config = ConfigDict(extra="forbid")

    eval_id: NonBlankName


class EvaluationStatus(StrEnum):
    """Statuses of an evaluation. `failed`: there is no comparison, and `error` says why.

    queued       the job has not succeeded yet, or the runs wait for others of the project
    in_progress  both models are sampled and graded
    completed    the models are compared
    """

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"


class ModelComparison(BaseModel):
    """Means of both models over the same items, their difference (tuned less base), and its 95 %
    interval by the paired bootstrap; null without items."""

    items: int
    base: float | None
    tuned: float | None
    difference: float | None
    interval: list[float] | None


class CriterionComparison(ModelComparison):
    name: str


class EvaluationResult(BaseModel):
    """`pass_rate` is of all items: one with an error has not passed. `criteria` are mean scores of
    the items that both models have one of."""

    pass_rate: ModelComparison
    criteria: list[CriterionComparison]


class JobEvaluation(BaseModel):
    """An eval of a job: its runs, and the comparison once both have ended."""

    eval_id: str
    name: str
    status: EvaluationStatus = EvaluationStatus.QUEUED
    # The run whose items and messages both models get.
    source_run_id: str
    base_run_id: str | None = None
    tuned_run_id: str | None = None
    result: EvaluationResult | None = None
    error: str | None = None


class CreateJob(BaseModel):
    """Body of POST /v1/fine_tuning/jobs. `null` is the same as an omitted field.

    Unknown fields are kept: `unknown_fields` refuses or reports them.
    """

    model_config = ConfigDict(protected_namespaces=(), extra="allow")

    model: NonBlankName
    training_file: NonBlankName
    validation_file: NonBlankName | None = None
    # Measured once, on the chosen weights; an extension of OpenAI's API, as `test_metrics`.
    test_file: NonBlankName | None = None
    test_metrics: TestMetrics | None = None
    # An extension too.
    evaluations: Annotated[list[AttachedEval], max_items(MAX_EVALUATIONS, "evals")] | None = None
    method: Method | None = None
    # Deprecated in favour of `method.supervised.hyperparameters`; many clients still send it.
    hyperparameters: Hyperparameters | None = None
    suffix: Suffix | None = None
    seed: Annotated[int, bounded_int(0, 2**31 - 1)] | None = None
    integrations: Integrations | None = None
    metadata: Metadata | None = None

    @field_validator("hyperparameters")
    @classmethod
    def _validate_top_level_hyperparameters(
        cls, top_level: Hyperparameters | None, info: ValidationInfo
    ) -> Hyperparameters | None:
        """Validate the values that the method knows, as in the method's own block."""
        if top_level is not None:
            validate_known(info.data.get("method"), top_level.model_dump(exclude_unset=True))
        return top_level

    @property
    def method_type(self) -> str:
        return "supervised" if self.method is None else self.method.type

    def merge_hyperparameters(self) -> dict[str, Any]:
        """Merge the hyperparameters: the method's block, then the top level, else "auto"."""
        return merge(self.method, self.hyperparameters)[0]

    def list_unknown_hyperparameters(self) -> list[str]:
        """List the names of requested hyperparameters that the method does not have."""
        return merge(self.method, self.hyperparameters)[1]

    def build_param_path(self, name: str) -> str:
        """Build the path in the request of the hyperparameter in effect, for an error's `param`."""
        own = self.method and self.method.hyperparameters
        if own is None or name not in own.model_fields_set:
            return f"hyperparameters.{name}"
        return f"method.{self.method_type}.hyperparameters.{name}"


class JobError(BaseModel):
    code: str
    message: str
    param: str | None


class ResolvedHyperparameters(BaseModel):
    """Hyperparameters as requested; numbers once "auto" is resolved. Methods add more."""

    model_config = ConfigDict(extra="allow")

    n_epochs: int | Auto = "auto"
    batch_size: int | Auto = "auto"
    learning_rate_multiplier: float | Auto = "auto"


class WaitReason(StrEnum):
    """Reasons why a job does not train at present.

    file_check     its files are about to be checked
    retry          its last attempt ended early, and the next one is delayed
    project_quota  its project runs as many jobs as it may
    no_trainer     no trainer takes jobs
    queue          it waits for earlier jobs, or for a free trainer and its project's turn
    pausing        it is being paused
    paused         it is paused until it is resumed
    yielding       its trainer is about to turn to another project
    """

    FILE_CHECK = "file_check"
    RETRY = "retry"
    PROJECT_QUOTA = "project_quota"
    NO_TRAINER = "no_trainer"
    QUEUE = "queue"
    PAUSING = "pausing"
    PAUSED = "paused"
    YIELDING = "yielding"


class JobWait(BaseModel):
    """`message` is a sentence for users."""

    reason: WaitReason
    message: str


class JobProgress(BaseModel):
    """Progress of a job. `state` tells apart what `status` shows as `running`.

    `step` is the last one reported, `seconds_left` an estimate, `queue_position` the place among
    the queued jobs of the project, from 1.
    """

    state: JobState
    step: int
    total_steps: int | None
    seconds_left: int | None
    attempts: int
    trained_seconds: float
    queue_position: int | None
    waiting: JobWait | None


class MetricSeries(BaseModel):
    """Points of one metric, in the order of their steps."""

    steps: list[int]
    values: list[float]


class JobObject(BaseModel):
    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    model: str
    created_at: UnixTime
    finished_at: UnixTime | None
    fine_tuned_model: str | None
    organization_id: str
    result_files: list[str]
    status: JobStatus
    training_file: str
    validation_file: str | None
    hyperparameters: ResolvedHyperparameters
    method: dict[str, Any]
    trained_tokens: int | None
    error: JobError | None
    estimated_finish: UnixTime | None
    seed: int
    integrations: list[Integration]
    metadata: dict[str, str] | None
    user_provided_suffix: str | None
    usage_metrics: None = None
    # Extensions: null without a test file, and `test_results` until the job has succeeded.
    test_file: str | None = None
    test_results: dict[str, Any] | None = None
    evaluations: list[JobEvaluation] | None = None
    # Only where the request includes it.
    progress: Annotated[JobProgress | None, Field(exclude_if=_is_none)] = None
    # As they were requested, "auto" included.
    requested_hyperparameters: Annotated[dict[str, Any] | None, Field(exclude_if=_is_none)] = None
    # The training loss at steps at equal distances.
    loss_curve: Annotated[MetricSeries | None, Field(exclude_if=_is_none)] = None
    shared_with_openai: bool = False


class JobList(Listing):
    data: list[JobObject]


class EventObject(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    id: str
    created_at: UnixTime
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any] | None


class EventList(Listing):
    data: list[EventObject]


class CheckpointObject(BaseModel):
    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: UnixTime
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    step_number: int
    metrics: dict[str, int | float]


class CheckpointList(CursorListing):
    data: list[CheckpointObject]


class JobMetrics(BaseModel):
    """Metrics of a job per step, as columns.

    `last_step` is the value of `after_step` for the points that follow, `step_count` the number of
    steps with metrics since the requested one. Points change only if `attempt` does: a later
    attempt replaces the steps that it repeats.
    """

    object: Literal["fine_tuning.job.metrics"] = "fine_tuning.job.metrics"
    job_id: str
    attempt: int
    total_steps: int | None
    last_step: int
    step_count: int
    is_downsampled: bool
    series: dict[str, MetricSeries]


class AttemptObject(BaseModel):
    """An attempt at a job by a trainer. `end_reason` and `ended_at` are null while it is open.

    `resumed_step` is that of the checkpoint it continued from, 0 without one; `reached_step` the
    last one it has reported. Both are null for attempts of earlier versions.
    """

    object: Literal["fine_tuning.job.attempt"] = "fine_tuning.job.attempt"
    id: str
    attempt: int
    trainer: str
    started_at: UnixTime
    ended_at: UnixTime | None
    end_reason: AttemptEnd | None
    message: str | None
    exit_code: int | None
    resumed_step: int | None
    reached_step: int | None
    log_tail: str | None


class AttemptList(Listing):
    data: list[AttemptObject]
