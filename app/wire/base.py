"""Types and fields that several resources share on the wire."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Protocol, TypeVar

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


# Unix timestamp in whole seconds; rows hold datetimes.
UnixTime = Annotated[int, BeforeValidator(_to_unix_seconds, json_schema_input_type=int)]

# Of JSON, for the items of a page; what does not fit is on the next pages.
MAX_PAGE_BYTES = 2**20

Item = TypeVar("Item", bound=BaseModel)

DISPLAY_NAME_PATTERN = r"[^\x00-\x1f\x7f-\x9f]{1,256}"


def _check_display_name(value: str) -> str:
    if re.fullmatch(DISPLAY_NAME_PATTERN, value):
        return value
    rule = "expected 1 to 256 characters, without line breaks and other control characters"
    raise PydanticCustomError("display_name", rule)


# Control characters are rejected because operators read names on terminals, which execute them.
DisplayName = Annotated[
    str,
    AfterValidator(_check_display_name),
    WithJsonSchema({"type": "string", "pattern": f"^{DISPLAY_NAME_PATTERN}$"}),
]
MetadataKey = Annotated[str, Field(max_length=64)]
MetadataValue = Annotated[str, Field(max_length=512)]
TtlSeconds = Annotated[int, Field(ge=1, le=31_536_000, description="Seconds until it expires")]


def bounded_int(minimum: int, maximum: int) -> PlainValidator:
    """An integer within bounds, which the error names.

    JSON integers may have any size; the parser delivers those of more than 64 bits as floats.
    """

    def check(value: Any) -> int:
        is_integer = type(value) is int or (isinstance(value, float) and value.is_integer())
        if is_integer and minimum <= value <= maximum:
            return int(value)
        rule = "expected an integer from {minimum} to {maximum}"
        bounds = {"minimum": str(minimum), "maximum": str(maximum)}
        raise PydanticCustomError("bounded_int", rule, bounds)

    bounded = Annotated[int, Field(ge=minimum, le=maximum)]
    return PlainValidator(check, json_schema_input_type=bounded)


def max_items(count: int, what: str) -> BeforeValidator:
    """Reject longer lists and maps, of `what`, with one error.

    Before their items are validated: an error for each of too many would cost more than the rest of
    the request.
    """

    def check(value: Any) -> Any:
        if not isinstance(value, list | dict) or len(value) <= count:
            return value
        context = {"count": count, "what": what, "given": len(value)}
        raise PydanticCustomError(
            "too_many", "expected at most {count} {what}, but got {given}", context
        )

    return BeforeValidator(check)


MAX_METADATA_PAIRS = 16
Metadata = Annotated[dict[MetadataKey, MetadataValue], max_items(MAX_METADATA_PAIRS, "pairs")]


class ErrorDetail(BaseModel):
    """Reason a request failed: `message` for users; `type`, `param`, `code` for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorEnvelope(BaseModel):
    """Body of every error response."""

    error: ErrorDetail


class Listing(BaseModel):
    """A page of a list. Pass the last item's id as `after` to get the next one."""

    object: Literal["list"] = "list"
    has_more: bool


class CursorListing(Listing):
    """A page with the ids of its first and last item."""

    first_id: str | None
    last_id: str | None


def fill_page(items: Iterable[Item], *, has_more: bool) -> tuple[list[Item], bool]:
    """Take items up to MAX_PAGE_BYTES of JSON, but at least one; also whether others follow.

    A page is held in memory until its client has read it, and items differ in size a thousandfold.
    """
    page: list[Item] = []
    size = 0
    for item in items:
        size += len(item.model_dump_json())
        if page and size > MAX_PAGE_BYTES:
            return page, True
        page.append(item)
    return page, has_more


class HasId(Protocol):
    id: str


def page_cursors(data: Sequence[HasId]) -> dict[str, str | None]:
    """`first_id` and `last_id` of a page."""
    return {
        "first_id": data[0].id if data else None,
        "last_id": data[-1].id if data else None,
    }


# Token ids of one text.
TokenIds = Annotated[list[int], Field(min_length=1)]


def normalize_inputs(value: Any) -> Any:
    """Normalize each accepted form of `input` and `prompt` to a list of texts or token ids."""
    inputs = [value] if isinstance(value, str) or _is_token_ids(value) else value
    if isinstance(inputs, list) and all(
        isinstance(each, str) or _is_token_ids(each) for each in inputs
    ):
        return inputs
    raise PydanticCustomError(
        "no_inputs", "expected a text, a list of texts, a list of token ids, or a list of those"
    )


def _is_token_ids(value: Any) -> bool:
    # Not isinstance: bool is a subclass of int.
    return isinstance(value, list) and value != [] and all(type(id) is int for id in value)
