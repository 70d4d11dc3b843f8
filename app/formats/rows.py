"""From the bytes of a training file to its examples: what the judge and the reader share."""

from collections.abc import Iterator
from typing import Any

from app.formats.faults import Fault, Flaw
from app.formats.foreign import recognize
from app.formats.format import Format
from app.formats.json_lines import audit, parse, unescaped_quotes
from app.formats.lines import BOM, Lines
from app.formats.table import FORMATS, detect

# No model reads so much at once, and a parsed line may take 25 times its bytes in memory.
LONGEST_LINE = 4 * 2**20

Row = dict[str, Any]


class WholeFile(Flaw):
    """Why the file is none that could be judged line by line."""

    def reason(self, example: int, line: int) -> str:
        return self.text


class Rows:
    """Pushed chunks in; for each example its row, or the Fault that keeps it from being used, out.

    Constant memory, and the same result in whatever chunks the file comes. Blank lines are no
    examples. A file that is no JSON Lines is one Fault; what comes after is not looked at.
    """

    def __init__(
        self, *, longest_line: int = LONGEST_LINE, formats: tuple[Format, ...] = FORMATS
    ) -> None:
        self.format: Format | None = None
        self.examples = 0
        self._formats = formats
        self._longest = longest_line
        self._lines = Lines(longest_line)
        self._line = 0
        self._ended = False

    def feed(self, chunk: bytes) -> Iterator[Row | Fault]:
        """The examples that end in this chunk."""
        if not self._ended:
            yield from self._examples(self._lines.feed(chunk))

    def finish(self) -> Iterator[Row | Fault]:
        """The last example, if no line feed ends it; a Fault if there was none at all."""
        if not self._ended:
            yield from self._examples(self._lines.finish())
        if not self.examples:
            yield Fault(1, 0, "The file has no examples. Write one JSON object per line.")

    def _examples(self, lines: Iterator[tuple[int, bytes | None]]) -> Iterator[Row | Fault]:
        for offset, line in lines:
            self._line += 1
            if line is not None:
                if not offset:
                    line = line.removeprefix(BOM)
                if not line.strip():
                    continue
            self.examples += 1
            yield self._row_or_fault(offset, line)
            if self._ended:
                return

    def _row_or_fault(self, offset: int, line: bytes | None) -> Row | Fault:
        try:
            return self._row(line)
        except Flaw as flaw:
            return Fault(self._line, offset, flaw.reason(self.examples, self._line), flaw.code)

    def _row(self, line: bytes | None) -> Row:
        if line is None:
            raise Flaw(f" is longer than {self._longest:,} bytes", "Make it shorter.")
        if self.examples == 1:
            self._refuse_foreign(line)
        row: Row = parse(line)
        format = self.format or self._detect(row)
        strings = format.plain(row)
        # As many quotes as the good strings need: no key came twice. The two together, at C's
        # speed, spare nearly every example the slow way.
        if strings and unescaped_quotes(line) == 2 * strings and b"\\u0000" not in line:
            return row
        audit(row, line)
        self._refuse_mixture(row)
        format.check(row)
        return row

    def _refuse_foreign(self, line: bytes) -> None:
        reason = recognize(line)
        if reason is not None:
            self._ended = True
            raise WholeFile(reason, "")

    def _detect(self, row: Any) -> Format:
        """The format of the first row that has one; the first there is until then."""
        self.format = detect(row, self._formats)
        return self.format or self._formats[0]

    def _refuse_mixture(self, row: Any) -> None:
        own = detect(row, self._formats)
        if own is not None and self.format is not None and not self.format.claims(row):
            raise Flaw(
                f" is in the {own.name} format, those before it in the {self.format.name} format",
                "Put them in two files.",
            )
