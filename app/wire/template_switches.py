"""Switches of a chat template that a request sets, such as `enable_thinking`."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, PlainValidator
from pydantic_core import PydanticCustomError

from app.wire.base import max_items

MAX_SWITCHES = 16
MAX_SWITCH_CHARS = 256


def _check_value(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MAX_SWITCH_CHARS:
        rule = "expected at most {max_length} character(s)"
        raise PydanticCustomError("switch", rule, {"max_length": MAX_SWITCH_CHARS})
    if isinstance(value, dict | list):
        # A template's own variables hold the messages.
        raise PydanticCustomError("switch", "expected true, false, a number, a string or null")
    return value


# Not a union of types, whose errors name the first of them as a part of the field.
SwitchValue = Annotated[
    Any, PlainValidator(_check_value, json_schema_input_type=bool | int | float | str | None)
]


# What a request has fields for, and arguments of transformers' `apply_chat_template`: engines pass
# switches on to it, and a template from a request may loop for ever (CVE-2025-61620).
RESERVED_NAMES = frozenset(
    "add_generation_prompt chat_template continue_final_message conversation documents functions "
    "max_length messages padding self tokenize tokenizer_kwargs tools truncation".split()
)


def _check_name(name: str) -> str:
    if not name.isidentifier() or len(name) > MAX_SWITCH_CHARS or name.startswith("_"):
        raise PydanticCustomError("switch", "expected names of variables as keys")
    if name in RESERVED_NAMES or name.startswith("return_"):
        raise PydanticCustomError("reserved", "{name} cannot be set here", {"name": repr(name)})
    return name


TemplateSwitches = Annotated[
    dict[Annotated[str, AfterValidator(_check_name)], SwitchValue],
    max_items(MAX_SWITCHES, "values"),
]


def join_switches(
    switches: Mapping[str, Any] | None, reasoning_effort: str | None
) -> dict[str, Any]:
    """Join both ways in which a request sets a template's switches."""
    joined: dict[str, Any] = {}
    if reasoning_effort is not None:
        joined["reasoning_effort"] = reasoning_effort
        if reasoning_effort == "none":
            joined["enable_thinking"] = False
    return joined | dict(switches or {})
