"""Parse a training file into checked rows: the common part of the validator and the reader."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from app.formats.dataset_summary import DatasetSummary, SummaryBuilder
from app.formats.errors import InvalidExample, LineError
from app.formats.file_signatures import detect_document, detect_foreign_format
from app.formats.format import Format
from app.formats.json_lines import check_strictness, is_strict, parse
from app.formats.layouts import describe_layout, detect_layout
from app.formats.lines import Line, LineSplitter
from app.formats.registry import FORMATS, detect_format

# No model reads this much at once, and a parsed line may take 25 times its bytes in memory.
MAX_LINE_BYTES = 4 * 2**20

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Position:
    """Place of an example in its file: its line and number, from 1, and its line's first byte."""

    line: int
    offset: int
    example: int


# Enough of the first line to recognize what a file is, if the line is too long to be read.
HEAD_BYTES = 256


BEGIN = Position(1, 0, 1)


class ForeignFile(InvalidExample):
    """The file as a whole is something other than JSON Lines in one of the formats."""

    def format_reason(self, example: int, line: int) -> str:
        return self.text


class RowParser:
    """Push parser: chunks in; for each example its row, or its LineError, out.

    Constant memory, and the result does not depend on how the file is chunked. Blank lines are
    skipped. A file that is not JSON Lines, or whose rows have the layout of a public dataset, gives
    one LineError, and the rest of it is ignored.
    """

    def __init__(
        self,
        *,
        max_line_bytes: int = MAX_LINE_BYTES,
        formats: tuple[Format, ...] = FORMATS,
        start: Position = BEGIN,
        format: Format | None = None,
    ) -> None:
        """`start` is the position of the stream's first example, and `format` that of those before
        it, where the stream begins inside of a file."""
        self.format = format
        self.example_count = start.example - 1
        # Of the example that was yielded last, with its bytes; None for a line that is too long.
        self.position = start
        self.line: bytes | None = None
        self._formats = formats
        self._max_line_bytes = max_line_bytes
        self._lines = LineSplitter(max_line_bytes, number=start.line - 1, offset=start.offset)
        self._stopped = False
        self._head = b""
        self._summary_builder = SummaryBuilder()

    @property
    def summary(self) -> DatasetSummary | None:
        """Summary of the valid rows; None for a format that has none."""
        if self.format is None:
            return None
        if self.format.extract_facts is None and not self._summary_builder.has_warnings:
            return None
        return self._summary_builder.build(min_labels=self.format.min_labels)

    def feed(self, chunk: bytes) -> Iterator[Row | LineError]:
        """Yield the examples that end in this chunk. Exhaust the iterator before the next call."""
        if len(self._head) < HEAD_BYTES:
            self._head += chunk[: HEAD_BYTES - len(self._head)]
        return self._parse_lines(self._lines.feed(chunk))

    def finish(self) -> Iterator[Row | LineError]:
        """Yield the last example, if no line feed follows it; a LineError if the file has none."""
        yield from self._parse_lines(self._lines.finish())
        if not self.example_count:
            yield LineError(1, 0, "The file has no examples. Write one JSON object per line.")

    def _parse_lines(self, lines: Iterator[Line]) -> Iterator[Row | LineError]:
        for number, offset, line in lines:
            if self._stopped:
                return
            self.example_count += 1
            self.position, self.line = Position(number, offset, self.example_count), line
            try:
                row = self._parse_row(line)
                self._summarize(row, number)
                yield row
            except InvalidExample as error:
                reason = error.format_reason(self.example_count, number)
                yield LineError(number, offset, reason, error.code)

    def _summarize(self, row: Row, line: int) -> None:
        if self.format is not None and self.format.extract_facts is not None:
            self._summary_builder.add(self.format.extract_facts(row), line)
        elif self.format is not None and self.format.find_warning is not None:
            warning = self.format.find_warning(row)
            if warning is not None:
                self._summary_builder.add_warning(warning, line)

    def _parse_row(self, line: bytes | None) -> Row:
        if line is None:
            self._reject_long_document()
            raise InvalidExample(
                f" is longer than {self._max_line_bytes:,} bytes", "Make it shorter."
            )
        if self.example_count == 1:
            self._reject_foreign_file(line)
        row: Row = parse(line)
        format = self.format or self._detect_format(row)
        # Fast path: both run at C speed, and nearly every example skips the full checks below.
        string_count = format.fast_check(row)
        if string_count and is_strict(line, string_count):
            return row
        check_strictness(row, line)
        self._reject_mixed_formats(row)
        format.check(row)
        return row

    def _reject_foreign_file(self, line: bytes) -> None:
        self._reject_file(detect_foreign_format(line))

    def _reject_long_document(self) -> None:
        """Reject a file that is one document on one line, by how that begins."""
        if self.example_count == 1:
            self._reject_file(detect_foreign_format(self._head) or detect_document(self._head))

    def _reject_file(self, reason: str | None) -> None:
        if reason is not None:
            self._stopped = True
            raise ForeignFile(reason, "")

    def _detect_format(self, row: Any) -> Format:
        """Detect the format of the file: that of the first row that matches one.

        Until then, rows are checked against the first registered format.
        """
        layout = detect_layout(row)
        if layout is not None:
            self._reject_file(describe_layout(layout))
        self.format = detect_format(row, self._formats)
        return self.format or self._formats[0]

    def _reject_mixed_formats(self, row: Any) -> None:
        file_format, row_format = self.format, detect_format(row, self._formats)
        if row_format is None or file_format is None or file_format.matches(row):
            return
        raise InvalidExample(
            f" is in the {row_format.name} format, "
            f"those before it in the {file_format.name} format",
            "Put them in two files.",
        )
