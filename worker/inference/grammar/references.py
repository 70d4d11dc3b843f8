"""References of a JSON Schema to its own parts, when it becomes a part of another schema."""

from collections.abc import Mapping
from typing import Any

from worker.inference.grammar.schema_rules import SCHEMA_MAPS

# Their values are no schemas.
VALUES = frozenset({"const", "enum"})


def move_references(schema: Any, pointer: str) -> Any:
    """Return a schema whose references begin at a pointer, such as `#/properties/arguments`."""
    if isinstance(schema, list):
        return [move_references(item, pointer) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {key: _move(key, value, pointer) for key, value in schema.items()}


def _move(keyword: str, value: Any, pointer: str) -> Any:
    if keyword in VALUES:
        return value
    if keyword in SCHEMA_MAPS and isinstance(value, Mapping):
        # Their keys are names, not keywords.
        return {name: move_references(part, pointer) for name, part in value.items()}
    if keyword == "$ref" and isinstance(value, str):
        is_pointer = value == "#" or value.startswith("#/")
        return pointer + value.removeprefix("#") if is_pointer else value
    return move_references(value, pointer)


def escape(name: str) -> str:
    """Escape a name in a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")
