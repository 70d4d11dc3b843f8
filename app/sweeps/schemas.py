"""Request and response bodies of sweeps and their events."""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from app.db.tables import EventLevel, SweepState, SweepStrategy, TrialState
from app.jobs.schemas import CreateJob, JobError
from app.wire.base import Listing, Metadata, UnixTime, bounded_int, max_items

MAX_JOBS = 64
MAX_HYPERPARAMETERS = 16
MAX_VALUES = 64


def _check_bound(value: Any) -> int | float:
    """Return a number as it is. A union of types would add their names to an error's path."""
    # True would be taken for 1.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PydanticCustomError("bound", "expected a number")
    return value


Bound = Annotated[int | float, PlainValidator(_check_bound), WithJsonSchema({"type": "number"})]


class ValueSpace(BaseModel):
    """Values of one hyperparameter: a list, or for random draws the bounds of a range.

    `scale` of a range is that on which draws are uniform.
    """

    model_config = ConfigDict(extra="forbid")

    values: Annotated[list[Any], max_items(MAX_VALUES, "values"), Field(min_length=1)] | None = None
    min: Bound | None = None
    max: Bound | None = None
    scale: Literal["linear", "log"] | None = None

    @model_validator(mode="after")
    def _validate_one_kind(self) -> "ValueSpace":
        bounds = (self.min, self.max)
        is_list = self.values is not None and bounds == (None, None) and self.scale is None
        if is_list or (self.values is None and None not in bounds):
            return self
        rule = 'expected either {"values": […]} or {"min": …, "max": …, "scale": "linear" or "log"}'
        raise PydanticCustomError("value_space", rule)


Space = Annotated[
    dict[Annotated[str, Field(max_length=64)], ValueSpace],
    max_items(MAX_HYPERPARAMETERS, "hyperparameters"),
    Field(min_length=1),
]


EXAMPLE: JsonDict = {
    "job": {
        "model": "smollm2-135m-instruct",
        "training_file": "file-abc123",
        "validation_file": "file-def456",
    },
    "space": {"learning_rate_multiplier": {"values": [0.5, 1, 2]}},
    "strategy": "grid",
    "max_jobs": 3,
    "metric": "valid_loss",
}


class CreateSweep(BaseModel):
    """Body of POST /v1/fine_tuning/sweeps. `job` is that of POST /v1/fine_tuning/jobs."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    job: CreateJob
    space: Space
    strategy: SweepStrategy
    max_jobs: Annotated[int, bounded_int(1, MAX_JOBS)]
    metric: Annotated[str, Field(max_length=64)]
    seed: Annotated[int, bounded_int(0, 2**31 - 1)] | None = None
    metadata: Metadata | None = None


class TrialObject(BaseModel):
    """A trial. `error` says why it has no job, or why its job failed."""

    index: int
    rung: int
    status: TrialState
    hyperparameters: dict[str, Any]
    job_id: str | None
    fine_tuned_model: str | None
    value: float | None
    error: str | None


class BestTrial(BaseModel):
    """The best trial, with the value of the sweep's metric."""

    trial: int
    job_id: str | None
    fine_tuned_model: str | None
    hyperparameters: dict[str, Any]
    metric: str
    value: float


class SweepObject(BaseModel):
    """A sweep. `best` and `why` are of the trials so far while it is running."""

    id: str
    object: Literal["fine_tuning.sweep"] = "fine_tuning.sweep"
    created_at: UnixTime
    finished_at: UnixTime | None
    status: SweepState
    job: dict[str, Any]
    space: dict[str, Any]
    strategy: SweepStrategy
    max_jobs: int
    metric: str
    goal: Literal["minimize", "maximize"]
    seed: int
    metadata: dict[str, str] | None
    best: BestTrial | None
    why: str | None
    trials: list[TrialObject]
    error: JobError | None


class SweepList(Listing):
    data: list[SweepObject]


class SweepEventObject(BaseModel):
    """An event, with the fields of a job's."""

    model_config = ConfigDict(from_attributes=True)

    object: Literal["fine_tuning.sweep.event"] = "fine_tuning.sweep.event"
    id: str
    created_at: UnixTime
    level: EventLevel
    message: str
    type: Literal["message"] = "message"
    data: dict[str, Any]


class SweepEventList(Listing):
    data: list[SweepEventObject]
