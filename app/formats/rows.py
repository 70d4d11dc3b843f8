"""From the bytes of a training file to its examples: what the judge and the reader share."""

from collections.abc import Iterator
from typing import Any

from app.formats.dataset_summary import DatasetSummary, SummaryBuilder
from app.formats.errors import InvalidExample, LineError
from app.formats.file_signatures import detect_foreign_format
from app.formats.format import Format
from app.formats.json_lines import check_strictness, is_strict, parse
from app.formats.lines import Line, LineSplitter
from app.formats.registry import FORMATS, detect_format

# No model reads so much at once, and a parsed line may take 25 times its bytes in memory.
MAX_LINE_BYTES = 4 * 2**20

Row = dict[str, Any]


class NotJsonLines(InvalidExample):
    """Why the file is none that could be judged line by line."""

    def reason(self, example: int, line: int) -> str:
        return self.text


class RowParser:
    """Pushed chunks in; for each example its row, or the Fault that keeps it from being used, out.

    Constant memory, and the same result in whatever chunks the file comes. Blank lines are no
    examples. A file that is no JSON Lines is one Fault; what comes after is not looked at.
    """

    def __init__(
        self, *, max_line_bytes: int = MAX_LINE_BYTES, formats: tuple[Format, ...] = FORMATS
    ) -> None:
        self.format: Format | None = None
        self.example_count = 0
        self._formats = formats
        self._max_line_bytes = max_line_bytes
        self._lines = LineSplitter(max_line_bytes)
        self._stopped = False
        self._summary_builder = SummaryBuilder()

    @property
    def summary(self) -> DatasetSummary | None:
        """What the good rows are as a whole; None for a format that has nothing to tell."""
        if self.format is None or self.format.extract_facts is None:
            return None
        return self._summary_builder.build(min_labels=self.format.min_labels)

    def feed(self, chunk: bytes) -> Iterator[Row | LineError]:
        """The examples that end in this chunk; take them all before the next."""
        return self._parse_lines(self._lines.feed(chunk))

    def finish(self) -> Iterator[Row | LineError]:
        """The last example, if no line feed ends it; a Fault if there was none at all."""
        yield from self._parse_lines(self._lines.finish())
        if not self.example_count:
            yield LineError(1, 0, "The file has no examples. Write one JSON object per line.")

    def _parse_lines(self, lines: Iterator[Line]) -> Iterator[Row | LineError]:
        for number, offset, line in lines:
            if self._stopped:
                return
            self.example_count += 1
            try:
                row = self._parse_row(line)
                if self.format is not None and self.format.extract_facts is not None:
                    self._summary_builder.add(self.format.extract_facts(row), number)
                yield row
            except InvalidExample as flaw:
                reason = flaw.format_reason(self.example_count, number)
                yield LineError(number, offset, reason, flaw.code)

    def _parse_row(self, line: bytes | None) -> Row:
        if line is None:
            raise InvalidExample(
                f" is longer than {self._max_line_bytes:,} bytes", "Make it shorter."
            )
        if self.example_count == 1:
            self._reject_foreign_file(line)
        row: Row = parse(line)
        format = self.format or self._detect_format(row)
        # Both at C's speed, and nearly every example is spared the slow way.
        strings = format.fast_check(row)
        if strings and is_strict(line, strings):
            return row
        check_strictness(row, line)
        self._reject_mixed_formats(row)
        format.check(row)
        return row

    def _reject_foreign_file(self, line: bytes) -> None:
        reason = detect_foreign_format(line)
        if reason is not None:
            self._stopped = True
            raise NotJsonLines(reason, "")

    def _detect_format(self, row: Any) -> Format:
        """The format of the first row that has one; the first there is until then."""
        self.format = detect_format(row, self._formats)
        return self.format or self._formats[0]

    def _reject_mixed_formats(self, row: Any) -> None:
        own = detect_format(row, self._formats)
        if own is not None and self.format is not None and not self.format.matches(row):
            raise InvalidExample(
                f" is in the {own.name} format, those before it in the {self.format.name} format",
                "Put them in two files.",
            )
