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


def take_part(part: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a part of a schema as a schema of its own, with what it refers to."""
    if not _has_reference(part):
        return part
    pointer = "#/$defs/root"
    own = move_references({key: part[key] for key in part if key != "$defs"}, pointer)
    return {**own, "$defs": {"root": move_references(root, pointer)}}


def _has_reference(schema: Any) -> bool:
    if isinstance(schema, Mapping):
        return "$ref" in schema or any(map(_has_reference, schema.values()))
    return isinstance(schema, list) and any(map(_has_reference, schema))
