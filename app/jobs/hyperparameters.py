"""Request schemas of fine-tuning methods and their hyperparameters."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator
from pydantic_core import PydanticCustomError

Auto = Literal["auto"]

# Relative to the learning rate chosen for "auto". Far above it a job still succeeds, but its model
# predicts a uniform distribution.
MAX_LEARNING_RATE_MULTIPLIER = 100.0


def _is_number(value: object) -> bool:
    # bool is an int in Python, but "n_epochs": true is a mistake.
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _build_int_validator(minimum: int, maximum: int) -> PlainValidator:
    def check(value: Any) -> int | Auto:
        if value is None or value == "auto":
            return "auto"
        if _is_number(value) and value == int(value) and minimum <= value <= maximum:
            return int(value)
        rule = "expected 'auto' or a whole number from {minimum} to {maximum}"
        raise PydanticCustomError("out_of_bounds", rule, {"minimum": minimum, "maximum": maximum})

    bounded = Annotated[int, Field(ge=minimum, le=maximum)]
    return PlainValidator(check, json_schema_input_type=bounded | Auto | None)


def _build_positive_validator(maximum: float) -> PlainValidator:
    def check(value: Any) -> float | Auto:
        if value is None or value == "auto":
            return "auto"
        if _is_number(value) and 0 < value <= maximum:
            return float(value)
        rule = "expected 'auto' or a number above 0 and up to {maximum}"
        raise PydanticCustomError("out_of_bounds", rule, {"maximum": f"{maximum:g}"})

    bounded = Annotated[float, Field(gt=0, le=maximum)]
    return PlainValidator(check, json_schema_input_type=bounded | Auto | None)


class Hyperparameters(BaseModel):
    """Hyperparameters of every method; "auto" leaves the choice to the service.

    Unknown names are accepted, as by OpenAI, and the job reports that it ignored them
    (`CreateJob.list_unknown_hyperparameters`).
    """

    model_config = ConfigDict(extra="allow")

    n_epochs: Annotated[int | Auto, _build_int_validator(1, 50)] = "auto"
    batch_size: Annotated[int | Auto, _build_int_validator(1, 256)] = "auto"
    learning_rate_multiplier: Annotated[
        float | Auto, _build_positive_validator(MAX_LEARNING_RATE_MULTIPLIER)
    ] = "auto"


class PreferenceHyperparameters(Hyperparameters):
    """DPO. `beta` weights the KL penalty: smaller values let the policy move further away from
    the starting model (Rafailov et al. 2023, https://arxiv.org/abs/2305.18290)."""

    beta: Annotated[float | Auto, _build_positive_validator(2)] = "auto"


class EncoderHyperparameters(Hyperparameters):
    """Additional hyperparameters of encoder methods, an extension of OpenAI's API.

    tuning                   "lora": an adapter and a head, "full": all layers but the embeddings
    class_weights            "balanced": weight labels by their inverse frequency
    early_stopping_patience  epochs without improvement on the validation file before training
                             stops; "auto" never stops early. The best epoch's weights are kept
                             either way.
    max_length               tokens after which texts are truncated; "auto" is the model's maximum
    """

    tuning: Literal["auto", "lora", "full"] = "auto"
    class_weights: Literal["auto", "none", "balanced"] = "auto"
    early_stopping_patience: Annotated[int | Auto, _build_int_validator(1, 50)] = "auto"
    max_length: Annotated[int | Auto, _build_int_validator(16, 8192)] = "auto"


class SupervisedMethod(BaseModel):
    hyperparameters: Hyperparameters | None = None


class DpoMethod(BaseModel):
    hyperparameters: PreferenceHyperparameters | None = None


class EncoderMethod(BaseModel):
    hyperparameters: EncoderHyperparameters | None = None


# Methods that take more than the common hyperparameters.
HYPERPARAMETERS_BY_METHOD: Mapping[str, type[Hyperparameters]] = {
    "dpo": PreferenceHyperparameters,
    "classification": EncoderHyperparameters,
    "token_classification": EncoderHyperparameters,
    "question_answering": EncoderHyperparameters,
    "embedding": EncoderHyperparameters,
}


class Method(BaseModel):
    """The training method. Blocks of other methods than `type` are accepted and ignored."""

    type: Literal[
        "supervised",
        "dpo",
        "reinforcement",
        "classification",
        "token_classification",
        "question_answering",
        "embedding",
    ]
    supervised: SupervisedMethod | None = None
    dpo: DpoMethod | None = None
    classification: EncoderMethod | None = None
    token_classification: EncoderMethod | None = None
    question_answering: EncoderMethod | None = None
    embedding: EncoderMethod | None = None

    @property
    def hyperparameters(self) -> Hyperparameters | None:
        """The hyperparameters in the block named by `type`."""
        block: SupervisedMethod | DpoMethod | EncoderMethod | None = getattr(self, self.type, None)
        return None if block is None else block.hyperparameters


def validate_known(method: Method | None, values: Mapping[str, Any]) -> Hyperparameters:
    """Validate the values that the method knows; the missing ones become "auto".

    Raises pydantic's ValidationError.
    """
    schema = _get_hyperparameters_class(method)
    return schema.model_validate({k: v for k, v in values.items() if k in schema.model_fields})


def merge(
    method: Method | None, top_level: Hyperparameters | None
) -> tuple[dict[str, Any], list[str]]:
    """Merge the hyperparameters of both blocks; return them and the names unknown to the method.

    The method's own block overrides `top_level`, which is deprecated but still sent by clients.
    """
    values: dict[str, Any] = {}
    for block in (top_level, method and method.hyperparameters):
        values |= {} if block is None else block.model_dump(exclude_unset=True)
    unknown = [
        name for name in values if name not in _get_hyperparameters_class(method).model_fields
    ]
    return validate_known(method, values).model_dump(), unknown


def _get_hyperparameters_class(method: Method | None) -> type[Hyperparameters]:
    return (
        HYPERPARAMETERS_BY_METHOD.get(method.type, Hyperparameters) if method else Hyperparameters
    )
