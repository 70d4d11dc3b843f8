"""Whether a file can be trained on, told while it streams in."""

from collections.abc import Iterable
from dataclasses import dataclass

from app.formats.dataset_summary import DatasetSummary
from app.formats.errors import ErrorCode, LineError
from app.formats.rows import MAX_LINE_BYTES, Row, RowParser

# A file with more faults than this is of another kind; judging it on would only cost time.
MAX_ERRORS = 10_000


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """`format` is None if no example was of any. `examples` counts the faulty ones too.

    `faults` are the first of `fault_count`, in the file's order. `summary` is of the good examples.
    """

    format: str | None
    example_count: int
    errors: tuple[LineError, ...]
    error_count: int
    summary: DatasetSummary | None = None

    def status_details(self) -> str | None:
        """A file's `status_details`: the first fault in OpenAI's words, or None for a good file."""
        if not self.errors:
            return None
        others = self.error_count - 1
        more = f" {others} more example(s) have faults." if others else ""
        return f"Invalid file format. {self.errors[0].reason}{more}"

    @property
    def code(self) -> ErrorCode | None:
        """The code of a job's error because of the first fault."""
        return self.errors[0].code if self.errors else None


class DatasetValidator:
    """Push a file's bytes with `feed`, then ask `finish` once."""

    def __init__(self, *, max_line_bytes: int = MAX_LINE_BYTES, max_errors: int = 100) -> None:
        self._parser = RowParser(max_line_bytes=max_line_bytes)
        self._max_errors = max_errors
        self._errors: list[LineError] = []
        self._error_count = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file. Returns when they are judged."""
        if not self._has_too_many_errors:
            self._collect_errors(self._parser.feed(chunk))

    def finish(self) -> ValidationReport:
        """The verdict on all that was fed."""
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
