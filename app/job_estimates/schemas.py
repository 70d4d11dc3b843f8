"""Response body of an estimate."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, PlainSerializer


class ValueSource(StrEnum):
    """Origin of a hyperparameter: the request, or the rule for `auto`."""

    REQUEST = "request"
    AUTO = "auto"


class RateSource(StrEnum):
    """Origin of a rate: the project's recent jobs of the same base model and method, or the
    machine's measured rate of matrix products."""

    RECENT_JOBS = "recent_jobs"
    MACHINE = "machine"


class ResolvedValue(BaseModel):
    """A hyperparameter as the job would have it, and why."""

    name: str
    value: Any
    source: ValueSource
    reason: str | None


def _round(value: float) -> float:
    """Round to a decimal; a number below 1 to three digits, which never makes it 0."""
    return round(value, 1) if value >= 1 else float(f"{value:.3g}")


# Rounded in the response alone: others are computed from it.
Rounded = Annotated[float, PlainSerializer(_round)]


class TrainingRate(BaseModel):
    """Tokens per second, and the seconds of a job's overhead besides its steps. `jobs` is the
    number of jobs that were measured."""

    tokens_per_second: Rounded
    overhead_seconds: Rounded
    source: RateSource
    jobs: int


class QueuePlace(BaseModel):
    """The project's jobs and quotas; null is unlimited.

    `has_room` is false if creation would be refused, `is_next_in_project` if the job would wait for
    one of the project's own. Neither depends on whether a trainer is free.
    """

    queued_jobs: int
    max_queued_jobs: int | None
    running_jobs: int
    max_running_jobs: int | None
    has_room: bool
    is_next_in_project: bool


class EstimateProblem(BaseModel):
    """The error with which the job would fail before training."""

    code: str
    message: str
    param: str | None


class TrainingEstimate(BaseModel):
    """Estimate of a job's training.

    `examples` are those of the training file, of which `measured_examples` were rendered; `rows` go
    through the model in each epoch, in `steps` over all epochs. Numbers of rows, tokens and steps
    are estimated if not all examples were measured.

    `comparison_memory_bytes` is the peak after training on weights in 4 bits, where the full ones
    are compared with them, if there is as much memory; null for other jobs.
    """

    hyperparameters: list[ResolvedValue]
    examples: int
    measured_examples: int
    left_out_examples: int
    truncated_examples: int
    rows: int
    tokens_per_epoch: int
    trained_tokens: int
    steps: int
    seconds: float
    rate: TrainingRate
    peak_memory_bytes: int
    comparison_memory_bytes: int | None
    warnings: list[str]


class JobEstimate(BaseModel):
    """An estimate of a job that was not created. `training` is null if there is a `problem`."""

    object: Literal["fine_tuning.job.estimate"] = "fine_tuning.job.estimate"
    model: str
    method: str
    training_file: str
    queue: QueuePlace
    problem: EstimateProblem | None
    training: TrainingEstimate | None
