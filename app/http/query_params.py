"""Query strings as clients write them: null as an empty value, lists with brackets."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from fastapi import Query, Request

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
# Unix seconds whose next one Postgres and Python know too, at the end of the year 9999.
MAX_TIME = 253_402_300_798


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Times from `since` on and before `before`; None is no bound."""

    since: datetime | None
    before: datetime | None


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


def time_range(name: str) -> Callable[..., Awaitable[TimeRange]]:
    """Build the dependency that reads `name[gt]`, `name[gte]`, `name[lt]` and `name[lte]`."""
    names = frozenset(f"{name}[{bound}]" for bound in ("gt", "gte", "lt", "lte"))

    def bound(key: str) -> Any:
        return Query(alias=f"{name}[{key}]", ge=0, le=MAX_TIME, description="Unix seconds")

    async def read(
        request: Request,
        gt: Annotated[int | None, bound("gt")] = None,
        gte: Annotated[int | None, bound("gte")] = None,
        lt: Annotated[int | None, bound("lt")] = None,
        lte: Annotated[int | None, bound("lte")] = None,
    ) -> TimeRange:
        if any(each.startswith(name) and each not in names for each in request.query_params):
            # Ignoring it would list others.
            raise InvalidRequest(
                f"Invalid '{name}': write `{name}[gte]=…`; the bounds are gt, gte, lt and lte, in "
                "Unix seconds.",
                param=name,
                code="invalid_value",
            )
        # Times on the wire are whole seconds, of which records have fractions.
        since = [each for each in (gte, None if gt is None else gt + 1) if each is not None]
        before = [each for each in (lt, None if lte is None else lte + 1) if each is not None]
        return TimeRange(
            _from_unix(max(since, default=None)), _from_unix(min(before, default=None))
        )

    return read


def _from_unix(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
