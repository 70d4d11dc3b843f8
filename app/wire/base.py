"""What all resources share on the wire."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Protocol

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    PlainValidator,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError


def _to_unix_seconds(value: object) -> object:
    return int(value.timestamp()) if isinstance(value, datetime) else value


# A moment as whole seconds since 1970; rows hold datetimes.
UnixTime = Annotated[int, BeforeValidator(_to_unix_seconds, json_schema_input_type=int)]

DISPLAY_NAME_PATTERN = r"[^\x00-\x1f\x7f-\x9f]{1,256}"


def _check_display_name(value: str) -> str:
    if re.fullmatch(DISPLAY_NAME_PATTERN, value):
        return value
    rule = "expected 1 to 256 characters, without line breaks and other control characters"
    raise PydanticCustomError("title", rule)


# What people call their things; operators read it on terminals, which obey control characters.
DisplayName = Annotated[
    str,
    AfterValidator(_check_display_name),
    WithJsonSchema({"type": "string", "pattern": f"^{DISPLAY_NAME_PATTERN}$"}),
]
TtlSeconds = Annotated[int, Field(ge=1, le=31_536_000, description="Seconds until it expires")]


def bounded_int(least: int, most: int) -> PlainValidator:
    """Whole numbers within bounds, of which it tells: JSON's may have any size, and those of over
    64 bits come as floats."""

    def check(value: Any) -> int:
        is_whole = type(value) is int or (isinstance(value, float) and value.is_integer())
        if is_whole and least <= value <= most:
            return int(value)
        rule = "expected an integer from {least} to {most}"
        raise PydanticCustomError("not_whole", rule, {"least": str(least), "most": str(most)})

    bounded = Annotated[int, Field(ge=least, le=most)]
    return PlainValidator(check, json_schema_input_type=bounded)


def max_items(count: int, what: str) -> BeforeValidator:
    """Refuses longer lists and maps in words that a client's author understands.

    Before anything in them is looked at: a finding for each of too many costs more than the rest
    of the request.
    """

    def check(value: Any) -> Any:
        if not isinstance(value, list | dict) or len(value) <= count:
            return value
        context = {"count": count, "what": what, "given": len(value)}
        raise PydanticCustomError(
            "too_many", "expected at most {count} {what}, but got {given}", context
        )

    return BeforeValidator(check)


class ErrorDetail(BaseModel):
    """Why a request failed: `message` for people, `type`, `param` and `code` for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorEnvelope(BaseModel):
    """The body of every answer that is not a success."""

    error: ErrorDetail


class Listing(BaseModel):
    """A page of a list; `after` of the next request is the last item's id."""

    object: Literal["list"] = "list"
    has_more: bool


class CursorListing(Listing):
    """A page that also names its ends."""

    first_id: str | None
    last_id: str | None


class HasId(Protocol):
    id: str


def page_cursors(data: Sequence[HasId]) -> dict[str, str | None]:
    """`first_id` and `last_id` of a page."""
    return {
        "first_id": data[0].id if data else None,
        "last_id": data[-1].id if data else None,
    }


# One text's token ids.
TokenIds = Annotated[list[int], Field(min_length=1)]


def normalize_inputs(value: Any) -> Any:
    """Every form of one or several texts as a list of them: each a text, or its token ids."""
    inputs = [value] if isinstance(value, str) or _is_token_ids(value) else value
    if isinstance(inputs, list) and all(
        isinstance(each, str) or _is_token_ids(each) for each in inputs
    ):
        return inputs
    raise PydanticCustomError(
        "no_inputs", "expected a text, a list of texts, a list of token ids, or a list of those"
    )


def _is_token_ids(value: Any) -> bool:
    # A bool is an int to Python.
    return isinstance(value, list) and value != [] and all(type(id) is int for id in value)
