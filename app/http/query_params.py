"""Query strings as clients write them: null as an empty value, lists with brackets."""

from typing import Any
from urllib.parse import unquote_to_bytes

from fastapi import Request

from app.errors import InvalidRequest
from app.wire.base import MAX_METADATA_PAIRS

# Filters by metadata: an empty value is a valid one, and differs from no filter.
METADATA_PREFIX = b"metadata"
# After the name of a list, as the Python SDK writes them.
BRACKETS = (b"[]", b"%5B%5D", b"%5b%5d")
# FastAPI does not support deepObject parameters: `parse_metadata_filter` reads it.
METADATA_PARAMETER: dict[str, Any] = {
    "name": "metadata",
    "in": "query",
    "description": "`metadata[key]=value` for each pair that objects must have; "
    "`metadata=null` for those without any",
    "style": "deepObject",
    "explode": True,
    "schema": {
        "type": "object",
        "additionalProperties": {"type": "string"},
        "maxProperties": MAX_METADATA_PAIRS,
    },
}


def normalize(query: bytes) -> bytes:
    """Remove the parameters without a value, and the brackets behind the names of lists.

    The Node SDK serializes a null parameter as `after=`. Read as a value, that would be an
    unknown cursor or an invalid number.
    """
    return b"&".join(_strip_brackets(pair) for pair in query.split(b"&") if _has_value(pair))


def _has_value(pair: bytes) -> bool:
    name, _, value = pair.partition(b"=")
    return value != b"" or unquote_to_bytes(name).startswith(METADATA_PREFIX)


def _strip_brackets(pair: bytes) -> bytes:
    name, equals, value = pair.partition(b"=")
    if name.startswith(METADATA_PREFIX):
        return pair
    for brackets in BRACKETS:
        name = name.removesuffix(brackets)
    return name + equals + value


def parse_metadata_filter(request: Request) -> dict[str, str] | None:
    """Parse the `metadata[key]=value` pairs: {} without any, None for `metadata=null`.

    Raises InvalidRequest for malformed filters: ignoring one would return more than was requested.
    """
    params = [
        (name, value)
        for name, value in request.query_params.multi_items()
        if name == "metadata" or name.startswith("metadata[")
    ]
    # The Node SDK serializes null as an empty value.
    if params in ([("metadata", "null")], [("metadata", "")]):
        return None
    pairs = {name[len("metadata[") : -1]: value for name, value in params if name.endswith("]")}
    if len(pairs) < len(params) or len(pairs) > MAX_METADATA_PAIRS:
        raise InvalidRequest(
            "Invalid 'metadata': write `metadata[key]=value`, each key once and at most "
            f"{MAX_METADATA_PAIRS} pairs, or `metadata=null` for those without metadata.",
            param="metadata",
            code="invalid_value",
        )
    return pairs
