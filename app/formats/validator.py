"""Streaming validation of a training file."""

from collections.abc import Iterable
from dataclasses import dataclass

from app.formats.dataset_summary import DatasetSummary
from app.formats.errors import ErrorCode, LineError
from app.formats.format import FormatName
from app.formats.rows import MAX_LINE_BYTES, Row, RowParser

# A file with more errors is probably in another format: validating the rest would waste time.
MAX_ERRORS = 10_000
# OpenAI's minimum for a training file; a validation file may be smaller.
MIN_TRAINING_EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """The result of validating a file.

    `format` is None if no example matched any. `example_count` includes invalid examples. `errors`
    are the first of `error_count`, in file order. `summary` covers the valid examples only.
    """

    format: FormatName | None
    example_count: int
    errors: tuple[LineError, ...]
    error_count: int
    summary: DatasetSummary | None = None

    def status_details(self) -> str | None:
        """A file's `status_details`: the first error in OpenAI's words; None for a valid file."""
        if not self.errors:
            return None
        others = self.error_count - 1
        at_least = "At least " if self.has_too_many_errors else ""
        more = f" {at_least}{others} more example(s) have errors." if others else ""
        return f"Invalid file format. {self.errors[0].reason}{more}"

    @property
    def has_too_many_errors(self) -> bool:
        """True if validation stopped at an error: what follows it was not checked."""
        return self.error_count >= MAX_ERRORS

    @property
    def code(self) -> ErrorCode | None:
        """The code of the first error, which becomes the code of a job's error."""
        return self.errors[0].code if self.errors else None


class DatasetValidator:
    """Push validator: `feed` it a file's bytes, then call `finish` once."""

    def __init__(self, *, max_line_bytes: int = MAX_LINE_BYTES, max_errors: int = 100) -> None:
        self._parser = RowParser(max_line_bytes=max_line_bytes)
        self._max_errors = max_errors
        self._errors: list[LineError] = []
        self._error_count = 0

    def feed(self, chunk: bytes) -> None:
        """Validate the next bytes of the file."""
        if not self._has_too_many_errors:
            self._collect_errors(self._parser.feed(chunk))

    def finish(self) -> ValidationReport:
        """Return the report on all bytes fed."""
        if not self._has_too_many_errors:
            self._collect_errors(self._parser.finish())
        format = self._parser.format
        return ValidationReport(
            format=None if format is None else format.name,
            example_count=self._parser.example_count,
            errors=tuple(self._errors),
            error_count=self._error_count,
            summary=self._parser.summary,
        )

    def _collect_errors(self, examples: Iterable[Row | LineError]) -> None:
        for example in examples:
            if isinstance(example, LineError):
                self._error_count += 1
                if self._error_count <= self._max_errors:
                    self._errors.append(example)
                if self._has_too_many_errors:
                    return

    @property
    def _has_too_many_errors(self) -> bool:
        return self._error_count >= MAX_ERRORS
