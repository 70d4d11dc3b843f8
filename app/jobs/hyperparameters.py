"""Request schemas of fine-tuning methods and their hyperparameters."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator
from pydantic_core import PydanticCustomError

Auto = Literal["auto"]

# Factor on the learning rate that "auto" means. Far above it a job succeeds, but its model predicts
# a uniform distribution.
MAX_LEARNING_RATE_MULTIPLIER = 100.0


def _is_number(value: object) -> bool:
    # bool is an int in Python, but "n_epochs": true is a mistake.
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _auto_or_int(minimum: int, maximum: int) -> PlainValidator:
    def check(value: Any) -> int | Auto:
        if value is None or value == "auto":
            return "auto"
        if _is_number(value) and value == int(value) and minimum <= value <= maximum:
            return int(value)
        rule = "expected 'auto' or a whole number from {minimum} to {maximum}"
        raise PydanticCustomError("out_of_bounds", rule, {"minimum": minimum, "maximum": maximum})

    bounded = Annotated[int, Field(ge=minimum, le=maximum)]
    return PlainValidator(check, json_schema_input_type=bounded | Auto | None)


def _auto_or_positive(maximum: float) -> PlainValidator:
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

    Unknown names are accepted, as OpenAI does, and the job reports that it ignored them
    (`CreateJob.unknown_hyperparameters`).
    """

    model_config = ConfigDict(extra="allow")

    n_epochs: Annotated[int | Auto, _auto_or_int(1, 50)] = "auto"
    batch_size: Annotated[int | Auto, _auto_or_int(1, 256)] = "auto"
    learning_rate_multiplier: Annotated[
        float | Auto, _auto_or_positive(MAX_LEARNING_RATE_MULTIPLIER)
    ] = "auto"


class PreferenceHyperparameters(Hyperparameters):
    """DPO. `beta` weights the KL penalty: smaller values let the policy move further away from
    the starting model (Rafailov et al. 2023, https://arxiv.org/abs/2305.18290)."""

    beta: Annotated[float | Auto, _auto_or_positive(2)] = "auto"


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
    early_stopping_patience: Annotated[int | Auto, _auto_or_int(1, 50)] = "auto"
    max_length: Annotated[int | Auto, _auto_or_int(16, 8192)] = "auto"


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


def validate_known(method: Method | None, given: Mapping[str, Any]) -> Hyperparameters:
    """Validate those of `given` that the method knows; the others become "auto".

    Raises pydantic's ValidationError.
    """
    schema = _hyperparameters_class(method)
    return schema.model_validate({k: v for k, v in given.items() if k in schema.model_fields})


def merge(
    method: Method | None, top_level: Hyperparameters | None
) -> tuple[dict[str, Any], list[str]]:
    """Merge both places of hyperparameters; return them and the names unknown to the method.

    The method's own block overrides `top_level`, the deprecated place that clients still send.
    """
    given: dict[str, Any] = {}
    for block in (top_level, method and method.hyperparameters):
        given |= {} if block is None else block.model_dump(exclude_unset=True)
    unknown = [name for name in given if name not in _hyperparameters_class(method).model_fields]
    return validate_known(method, given).model_dump(), unknown


def _hyperparameters_class(method: Method | None) -> type[Hyperparameters]:
    return (
        HYPERPARAMETERS_BY_METHOD.get(method.type, Hyperparameters) if method else Hyperparameters
    )
