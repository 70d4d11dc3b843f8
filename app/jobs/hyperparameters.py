"""How to train: the methods of a job and their hyperparameters."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator
from pydantic_core import PydanticCustomError

Auto = Literal["auto"]

# Times the learning rate that "auto" means. Far above it a job ends well, and its model says
# everything with the same chance.
MAX_LEARNING_RATE_MULTIPLIER = 100.0


def _is_number(value: object) -> bool:
    # bool is an int to Python, and "n_epochs": true is a slip, not a number.
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _auto_or_int(least: int, most: int) -> PlainValidator:
    def check(value: Any) -> int | Auto:
        if value is None or value == "auto":
            return "auto"
        if _is_number(value) and value == int(value) and least <= value <= most:
            return int(value)
        rule = "expected 'auto' or a whole number from {least} to {most}"
        raise PydanticCustomError("out_of_bounds", rule, {"least": least, "most": most})

    bounded = Annotated[int, Field(ge=least, le=most)]
    return PlainValidator(check, json_schema_input_type=bounded | Auto | None)


def _auto_or_positive(most: float) -> PlainValidator:
    def check(value: Any) -> float | Auto:
        if value is None or value == "auto":
            return "auto"
        if _is_number(value) and 0 < value <= most:
            return float(value)
        rule = "expected 'auto' or a number above 0 and up to {most}"
        raise PydanticCustomError("out_of_bounds", rule, {"most": f"{most:g}"})

    bounded = Annotated[float, Field(gt=0, le=most)]
    return PlainValidator(check, json_schema_input_type=bounded | Auto | None)


class Hyperparameters(BaseModel):
    """What a user may choose; "auto" leaves it to the service.

    Names that are not known are taken, as OpenAI takes them, and the job tells that it did not use
    them: `unknown`.
    """

    model_config = ConfigDict(extra="allow")

    n_epochs: Annotated[int | Auto, _auto_or_int(1, 50)] = "auto"
    batch_size: Annotated[int | Auto, _auto_or_int(1, 256)] = "auto"
    learning_rate_multiplier: Annotated[
        float | Auto, _auto_or_positive(MAX_LEARNING_RATE_MULTIPLIER)
    ] = "auto"


class PreferenceHyperparameters(Hyperparameters):
    """`beta`: how dear it is to leave the starting model; the smaller, the freer."""

    beta: Annotated[float | Auto, _auto_or_positive(2)] = "auto"


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
    early_stopping_patience: Annotated[int | Auto, _auto_or_int(1, 50)] = "auto"
    max_length: Annotated[int | Auto, _auto_or_int(16, 8192)] = "auto"


class SupervisedMethod(BaseModel):
    hyperparameters: Hyperparameters | None = None


class DpoMethod(BaseModel):
    hyperparameters: PreferenceHyperparameters | None = None


class EncoderMethod(BaseModel):
    hyperparameters: EncoderHyperparameters | None = None


# What a method takes, if that is more than all of them take.
HYPERPARAMETERS_BY_METHOD: Mapping[str, type[Hyperparameters]] = {
    "dpo": PreferenceHyperparameters,
    "classification": EncoderHyperparameters,
    "token_classification": EncoderHyperparameters,
    "question_answering": EncoderHyperparameters,
    "embedding": EncoderHyperparameters,
}


class Method(BaseModel):
    """How to train. Blocks of other methods than `type` may be there and do not count."""

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
        """Those of the block that `type` names."""
        block: SupervisedMethod | DpoMethod | EncoderMethod | None = getattr(self, self.type, None)
        return None if block is None else block.hyperparameters


def validate_known(method: Method | None, given: Mapping[str, Any]) -> Hyperparameters:
    """Those of `given` that the method takes, with "auto" for all else. Raises ValidationError."""
    kind = _hyperparameters_class(method)
    return kind.model_validate({k: v for k, v in given.items() if k in kind.model_fields})


def merge(method: Method | None, older: Hyperparameters | None) -> tuple[dict[str, Any], list[str]]:
    """What was chosen, with "auto" for all else, and the names that no such method knows.

    The method's own block counts before `older`, the place of the same in older requests.
    """
    given: dict[str, Any] = {}
    for block in (older, method and method.hyperparameters):
        given |= {} if block is None else block.model_dump(exclude_unset=True)
    unknown = [name for name in given if name not in _hyperparameters_class(method).model_fields]
    return validate_known(method, given).model_dump(), unknown


def _hyperparameters_class(method: Method | None) -> type[Hyperparameters]:
    return (
        HYPERPARAMETERS_BY_METHOD.get(method.type, Hyperparameters) if method else Hyperparameters
    )
