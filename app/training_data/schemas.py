"""Response bodies of the views of training files."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from app.formats import ErrorCode, FormatName
from app.training_data.lengths import LengthDistribution
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


class EqualRow(BaseModel):
    """A line whose row is equal to that of the line `first_line` before it."""

    line: int
    first_line: int


class TokenStatistics(BaseModel):
    """Tokens of a file's rows as training on a model reads them.

    Of `measured_examples` of the file's examples, `left_out_examples` are not learned and
    `truncated_examples` are cut at `max_tokens`. `sequences` are the lengths of what goes through
    the model. The tokens of an epoch are those of the whole file, estimated if not all examples
    were measured.
    """

    model: str
    method: str
    max_tokens: int
    measured_examples: int
    left_out_examples: int
    truncated_examples: int
    sequences: LengthDistribution | None
    tokens_per_epoch: int
    loss_tokens_per_epoch: int
    warnings: list[str]


class FileStatistics(BaseModel):
    """Statistics of a training file's valid rows, of its first `bytes_read` bytes.

    `duplicates` are the first 100 of `duplicate_count` rows that are equal to one before them,
    apart from `id` and `metadata`. `characters` are lengths of the rows' texts. `labels` has the
    number of examples of each label, as in the validation report.
    """

    object: Literal["file.statistics"] = "file.statistics"
    file_id: str
    format: FormatName | None
    bytes: int
    bytes_read: int
    examples: int
    invalid_examples: int
    labels: dict[str, int]
    duplicate_count: int
    duplicates: list[EqualRow]
    characters: LengthDistribution | None
    tokens: TokenStatistics | None


class LeakedRow(BaseModel):
    """A line of a held-out file, and that of the training file with an equal row."""

    line: int
    training_line: int


class FileLeakage(BaseModel):
    """Different rows of a validation or test file that a training file has too, apart from `id` and
    `metadata`: the first 100 of `count`. Rows of both files behind `bytes_read` were not compared.
    """

    object: Literal["file.leakage"] = "file.leakage"
    file_id: str
    training_file: str
    bytes_read: int
    training_bytes_read: int
    count: int
    rows: list[LeakedRow]
