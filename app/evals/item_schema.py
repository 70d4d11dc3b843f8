"""The items' schema of a custom data source: itself checked, and each item by it, for another
process. Its task and result are JSON.

No request leaves the process: references are to places in the schema. Patterns are those of an
engine whose time is linear in the text, without look-around and back-references.
"""

from collections.abc import Sequence
from typing import Any

import jsonschema_rs
from pydantic import BaseModel

MAX_MESSAGE_CHARS = 300
# Schemas and items of usual shapes take milliseconds.
CHECK_TIMEOUT_SECONDS = 5.0
TOO_SLOW = "checking it takes too much time or memory"
# Stands for a value in messages, which may be long.
MASK = "the value"


class SchemaTask(BaseModel):
    """A JSON schema, and the items that it is to allow."""

    schema_: dict[str, Any]
    items: list[dict[str, Any]]


class SchemaFault(BaseModel):
    """Fault of item `index` at `path`, or of the schema if there is no index."""

    index: int | None = None
    path: list[str | int] = []
    message: str


class SchemaResult(BaseModel):
    """The first fault, if there is one."""

    fault: SchemaFault | None = None


def run_schema_task(payload: bytes) -> bytes:
    """Task of the CPU pool: a SchemaTask to a SchemaResult, both as JSON."""
    task = SchemaTask.model_validate_json(payload)
    result = SchemaResult(fault=find_fault(task.schema_, task.items))
    return result.model_dump_json().encode()


def find_fault(schema: dict[str, Any], items: Sequence[dict[str, Any]]) -> SchemaFault | None:
    """Find the first fault: of the schema, or of an item."""
    try:
        validator = jsonschema_rs.validator_for(
            schema, mask=MASK, pattern_options=jsonschema_rs.RegexOptions(), offline=True
        )
    except jsonschema_rs.ValidationError as error:
        return _describe(None, error)
    for index, item in enumerate(items):
        try:
            validator.validate(item)
        except jsonschema_rs.ValidationError as error:
            return _describe(index, error)
    return None


def _describe(index: int | None, error: jsonschema_rs.ValidationError) -> SchemaFault:
    message = error.message[:MAX_MESSAGE_CHARS]
    return SchemaFault(index=index, path=error.instance_path, message=message)


def describe_schema_fault(fault: SchemaFault) -> str:
    """Say that no item can be checked: the fault is the schema's."""
    return (
        f"The items cannot be checked by this eval's 'item_schema': {fault.message}. Create an "
        "eval with another schema."
    )


def format_path(path: Sequence[str | int]) -> str:
    """Format a path behind a name: `.a[0]`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)[
        :MAX_MESSAGE_CHARS
    ]
