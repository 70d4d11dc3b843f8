"""What all resources share on the wire."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator


def _seconds(value: object) -> object:
    return int(value.timestamp()) if isinstance(value, datetime) else value


# A moment as whole seconds since 1970; rows hold datetimes.
UnixTime = Annotated[int, BeforeValidator(_seconds, json_schema_input_type=int)]


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
