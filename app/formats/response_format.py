"""Response format of an example: that of the request which the example was an answer to.

Training accepts and ignores it, as serving renders no prompt from it: the engine only restricts
which tokens may follow. A model learns the form from the answers, whether the format is there or
not; rows made of stored completions keep it, and so do those of other tools.
"""

from collections.abc import Mapping
from typing import Any

from app.formats.errors import InvalidExample, json_type_name

TYPES = ("text", "json_object", "json_schema")
HINT = (
    'Write {"type": "json_schema", "json_schema": {"name": "…", "schema": {…}}}, as in a request, '
    "or leave it out: training does not need it."
)


def check_response_format(row: Mapping[str, Any]) -> None:
    """Raise InvalidExample unless `response_format` is absent, or one of a request."""
    value = row.get("response_format")
    if value is None:
        return
    if not isinstance(value, dict):
        raise InvalidExample(f": response_format is {json_type_name(value)}, not an object", HINT)
    if value.get("type") not in TYPES:
        raise InvalidExample(f": response_format has none of the types {', '.join(TYPES)}", HINT)
    if value["type"] == "json_schema" and not _has_schema(value.get("json_schema")):
        raise InvalidExample(": response_format has no schema", HINT)


def _has_schema(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("schema"), dict)
