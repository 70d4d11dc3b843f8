"""Fine-tuning jobs on the wire: what a request may ask for, and jobs, events and checkpoints."""

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator
from pydantic_core import PydanticCustomError

from app.schemas.wire import CursorListing, Listing, UnixTime

Auto = Literal["auto"]
Status = Literal[
    "validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"
]


def _is_number(value: object) -> bool:
    # bool is an int to Python, and "n_epochs": true is a slip, not a number.
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _auto_or_whole(least: int, most: int) -> PlainValidator:
    def check(value: Any) -> int | Auto:
        if value is None or value == "auto":
            return "auto"
        if _is_number(value) and value == int(value) and least <= value <= most:
            return int(value)
        rule = "expected 'auto' or a whole number from {least} to {most}"
        raise PydanticCustomError("out_of_bounds", rule, {"least": least, "most": most})

    return PlainValidator(check, json_schema_input_type=int | Auto)


def _auto_or_positive(value: Any) -> float | Auto:
    if value is None or value == "auto":
        return "auto"
    if _is_number(value) and value > 0:
        return float(value)
    raise PydanticCustomError("out_of_bounds", "expected 'auto' or a number above 0")


class Hyperparameters(BaseModel):
    """What a user may choose; "auto" leaves it to the service."""

    n_epochs: Annotated[int | Auto, _auto_or_whole(1, 50)] = "auto"
    batch_size: Annotated[int | Auto, _auto_or_whole(1, 256)] = "auto"
    learning_rate_multiplier: Annotated[
        float | Auto, PlainValidator(_auto_or_positive, json_schema_input_type=float | Auto)
    ] = "auto"


class EncoderHyperparameters(Hyperparameters):
    """What encoders' methods take beside that: an extension of OpenAI's API.

    tuning                   "lora": an adapter and a head, "full": all layers but the embeddings
    class_weights            "balanced": rare labels count as much as frequent ones
    early_stopping_patience  passes that may bring nothing better on the validation file; "auto"
                             means all of them. The best pass's weights are kept either way.
    max_length               tokens of a text that are read; "auto" means all that the model reads
    """

    tuning: Literal["auto", "lora", "full"] = "auto"
    class_weights: Literal["auto", "none", "balanced"] = "auto"
    early_stopping_patience: Annotated[int | Auto, _auto_or_whole(1, 50)] = "auto"
    max_length: Annotated[int | Auto, _auto_or_whole(16, 8192)] = "auto"


# Ids and models' names; errors repeat them.
Name = Annotated[str, Field(max_length=256)]


class Supervised(BaseModel):
    hyperparameters: Hyperparameters | None = None


ENCODER_METHODS = ("classification", "token_classification", "question_answering", "embedding")


class EncoderMethod(BaseModel):
    hyperparameters: EncoderHyperparameters | None = None


class Method(BaseModel):
    """How to train. Blocks of other methods than `type` may be there and are not read."""

    type: Literal[
        "supervised",
        "dpo",
        "reinforcement",
        "classification",
        "token_classification",
        "question_answering",
        "embedding",
    ]
    supervised: Supervised | None = None
    classification: EncoderMethod | None = None
    token_classification: EncoderMethod | None = None
    question_answering: EncoderMethod | None = None
    embedding: EncoderMethod | None = None

    @property
    def hyperparameters(self) -> Hyperparameters | None:
        """Those of the block that `type` names."""
        block: Supervised | EncoderMethod | None = getattr(self, self.type, None)
        return None if block is None else block.hyperparameters


class CreateJob(BaseModel):
    """POST /v1/fine_tuning/jobs. `null` means the same as leaving a field out."""

    model_config = ConfigDict(protected_namespaces=())

    model: Name
    training_file: Name
    validation_file: Name | None = None
    method: Method | None = None
    # The older place of `method.supervised.hyperparameters`; many clients still send it.
    hyperparameters: Hyperparameters | None = None
    # Part of the tuned model's name, where a colon would end it.
    suffix: str | None = Field(None, pattern=r"^\w[\w .-]{0,63}$")
    seed: int | None = Field(None, ge=0, le=2**31 - 1, strict=True)
    integrations: list[Any] | None = None
    metadata: (
        Annotated[
            dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
            Field(max_length=16),
        ]
        | None
    ) = None

    def chosen(self) -> dict[str, Any]:
        """The hyperparameters: those of the method's block, then of the older place, else auto."""
        older = self.hyperparameters or Hyperparameters()
        newer = (self.method and self.method.hyperparameters) or Hyperparameters()
        asked = {
            **older.model_dump(exclude_unset=True),
            **newer.model_dump(exclude_unset=True),
        }
        of_encoder = self.method is not None and self.method.type in ENCODER_METHODS
        kind = EncoderHyperparameters if of_encoder else Hyperparameters
        return kind(**asked).model_dump()


class JobError(BaseModel):
    code: str
    message: str
    param: str | None


class ShownHyperparameters(BaseModel):
    """As chosen, then as numbers once the service has resolved "auto". Methods have more."""

    model_config = ConfigDict(extra="allow")

    n_epochs: int | Auto = "auto"
    batch_size: int | Auto = "auto"
    learning_rate_multiplier: float | Auto = "auto"


class JobObject(BaseModel):
    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    model: str
    created_at: UnixTime
    finished_at: UnixTime | None
    fine_tuned_model: str | None
    organization_id: str
    result_files: list[str]
    status: Status
    training_file: str
    validation_file: str | None
    hyperparameters: ShownHyperparameters
    method: dict[str, Any]
    trained_tokens: int | None
    error: JobError | None
    estimated_finish: UnixTime | None
    seed: int
    integrations: list[Any]
    metadata: dict[str, str] | None
    user_provided_suffix: str | None
    usage_metrics: None = None
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
