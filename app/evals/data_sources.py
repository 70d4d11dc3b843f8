"""Data sources of evals: the schema of the variables that templates may name."""

from collections.abc import Mapping
from typing import Any

from app.evals.schemas import CustomDataSource, DataSourceConfig
from app.graders.template import OUTPUT_VARIABLES

TEXT = {"type": "string"}
OBJECT = {"type": "object"}
OBJECTS = {"type": "array", "items": OBJECT}
MESSAGE = {
    "type": "object",
    "properties": {
        "role": {"type": "string", "enum": ["assistant"]},
        "content": {"type": ["string", "array", "null"]},
        "refusal": {"type": ["string", "null"]},
        "tool_calls": {"type": ["array", "null"], "items": OBJECT},
    },
    "required": ["role"],
}
CHOICE = {
    "type": "object",
    "properties": {"index": {"type": "integer"}, "message": MESSAGE, "finish_reason": TEXT},
    "required": ["index", "message", "finish_reason"],
}
# What a model has given. `output_json` is there if the text is JSON.
SAMPLE_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "output_text": TEXT,
        "output_json": OBJECT,
        "output_tools": OBJECTS,
        "choices": {"type": "array", "items": CHOICE},
    },
    "required": ["output_text", "choices"],
}
assert SAMPLE_SCHEMA["properties"].keys() == OUTPUT_VARIABLES

# Keywords by which an item may have properties that the schema's `properties` do not name.
OPEN_KEYWORDS = (
    "$ref",
    "additionalProperties",
    "allOf",
    "anyOf",
    "oneOf",
    "patternProperties",
)


def build_config(source: DataSourceConfig) -> dict[str, Any]:
    """Build the configuration that clients see: with a schema instead of what it is made from."""
    if isinstance(source, CustomDataSource):
        variables = {"item": source.item_schema}
        if source.include_sample_schema:
            variables["sample"] = dict(SAMPLE_SCHEMA)
        return {"type": source.type, "schema": _build_schema(variables)}
    schema = _build_schema({"item": OBJECT, "sample": OBJECT})
    return {"type": source.type, "metadata": source.metadata, "schema": schema}


def _build_schema(variables: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(variables), "required": list(variables)}


def get_item_schema(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Get the schema of the client's items; None if the items are stored completions."""
    schema: dict[str, Any] = config["schema"]["properties"]["item"]
    return schema if config["type"] == "custom" else None


def has_sample(config: Mapping[str, Any]) -> bool:
    """Templates may name the model's output."""
    return "sample" in config["schema"]["properties"]


def list_item_fields(config: Mapping[str, Any]) -> list[str] | None:
    """List the fields that an item has, or None if its schema does not say which."""
    schema = config["schema"]["properties"]["item"]
    properties = schema.get("properties")
    if not isinstance(properties, dict) or any(schema.get(word) for word in OPEN_KEYWORDS):
        return None
    return list(properties)
