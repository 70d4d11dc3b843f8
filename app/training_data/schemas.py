"""Response bodies of the views of training files."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from app.formats import ErrorCode, FormatName
from app.wire.base import Listing
from app.wire.training_rows import RenderedRow


class PreviewError(BaseModel):
    """The reason why a line is no example, and the first 4,000 characters of the line."""

    reason: str
    code: ErrorCode
    line: str | None


class PreviewRow(BaseModel):
    """One example of a file: its row, and how a base model reads it; or its error.

    `id` continues the list behind it. `line` counts from 1, `offset` is the byte at which the line
    starts, and `example` counts lines that are not blank.
    """

    object: Literal["file.preview.row"] = "file.preview.row"
    id: str
    line: int
    offset: int
    example: int
    row: dict[str, Any] | None
    error: PreviewError | None
    rendered: RenderedRow | None


class FilePreview(Listing):
    """A page of a training file's rows.

    `max_tokens` is the length at which rows are cut; null without a model. `thinking` is true if
    any answer of the file has reasoning, on which chat templates depend.
    """

    file_id: str
    format: FormatName | None
    model: str | None
    method: str | None
    max_tokens: int | None
    thinking: bool | None
    warnings: list[str] = Field(description="What the base model lacks for the file")
    data: list[PreviewRow]
    first_id: str | None
    last_id: str | None
