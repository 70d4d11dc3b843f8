"""Types of hyperparameters' values: "auto", or a value within bounds, else a sentence."""

import math
import re
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator
from pydantic_core import PydanticCustomError

Auto = Literal["auto"]

# Names of modules as PyTorch writes them; a path such as `mlp.up_proj` matches at its end.
MODULE_NAME = re.compile(r"\w+(\.\w+)*")
MAX_MODULE_NAMES = 64
MAX_MODULE_NAME_LENGTH = 128
ALL_LINEAR = "all-linear"


def is_number(value: object) -> bool:
    """True for a finite number. bool is an int in Python, but `"n_epochs": true` is a mistake."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def whole_number(minimum: int, maximum: int) -> PlainValidator:
    """Accept "auto" or a whole number within both bounds."""

    def check(value: Any) -> int | Auto:
        if value is None or value == "auto":
            return "auto"
        if is_number(value) and value == int(value) and minimum <= value <= maximum:
            return int(value)
        rule = "expected 'auto' or a whole number from {minimum} to {maximum}"
        raise PydanticCustomError("out_of_bounds", rule, {"minimum": minimum, "maximum": maximum})

    bounded = Annotated[int, Field(ge=minimum, le=maximum)]
    return PlainValidator(check, json_schema_input_type=bounded | Auto | None)


def positive_number(maximum: float) -> PlainValidator:
    """Accept "auto" or a number above 0 and up to `maximum`."""

    def check(value: Any) -> float | Auto:
        if value is None or value == "auto":
            return "auto"
        if is_number(value) and 0 < value <= maximum:
            return float(value)
        rule = "expected 'auto' or a number above 0 and up to {maximum}"
        raise PydanticCustomError("out_of_bounds", rule, {"maximum": f"{maximum:g}"})

    bounded = Annotated[float, Field(gt=0, le=maximum)]
    return PlainValidator(check, json_schema_input_type=bounded | Auto | None)


def number_from_zero(maximum: float) -> PlainValidator:
    """Accept "auto" or a number from 0, which switches the option off, up to `maximum`."""

    def check(value: Any) -> float | Auto:
        if value is None or value == "auto":
            return "auto"
        if is_number(value) and 0 <= value <= maximum:
            return float(value)
        rule = "expected 'auto' or a number from 0 to {maximum}"
        raise PydanticCustomError("out_of_bounds", rule, {"maximum": f"{maximum:g}"})

    bounded = Annotated[float, Field(ge=0, le=maximum)]
    return PlainValidator(check, json_schema_input_type=bounded | Auto | None)


def one_of(*choices: str) -> PlainValidator:
    """Accept "auto" or one of `choices`."""

    def check(value: Any) -> str:
        if value is None or value == "auto":
            return "auto"
        if isinstance(value, str) and value in choices:
            return value
        names = ", ".join(f"'{choice}'" for choice in choices)
        raise PydanticCustomError(
            "unknown_choice", "expected 'auto' or one of {names}", {"names": names}
        )

    return PlainValidator(check, json_schema_input_type=Literal[("auto", *choices)] | None)


def _check_switch(value: Any) -> bool | Auto:
    if value is None or value == "auto":
        return "auto"
    if isinstance(value, bool):
        return value
    raise PydanticCustomError("not_a_switch", "expected 'auto', true or false")


SWITCH = PlainValidator(_check_switch, json_schema_input_type=bool | Auto | None)


def _check_module_names(value: Any) -> list[str] | str:
    if value is None or value == "auto":
        return "auto"
    if value == ALL_LINEAR:
        return ALL_LINEAR
    is_list = isinstance(value, list) and 0 < len(value) <= MAX_MODULE_NAMES
    if is_list and all(map(_is_module_name, value)):
        # The order has no meaning.
        return sorted(set(value))
    rule = (
        "expected 'auto', 'all-linear' or a list of 1 to {most} names of linear layers, such as "
        "['q_proj', 'v_proj']"
    )
    raise PydanticCustomError("module_names", rule, {"most": MAX_MODULE_NAMES})


def _is_module_name(value: object) -> bool:
    return (
        isinstance(value, str)
        and len(value) <= MAX_MODULE_NAME_LENGTH
        and MODULE_NAME.fullmatch(value) is not None
    )


MODULE_NAMES = PlainValidator(
    _check_module_names,
    json_schema_input_type=Annotated[list[str], Field(min_length=1, max_length=MAX_MODULE_NAMES)]
    | Literal["auto", "all-linear"]
    | None,
)
