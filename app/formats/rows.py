"""From the bytes of a training file to its examples: what the judge and the reader share."""

from collections.abc import Iterator
from typing import Any

from app.formats.dataset_summary import Summary, Tally
from app.formats.errors import Fault, Flaw
from app.formats.file_signatures import recognize
from app.formats.format import Format
from app.formats.json_lines import audit, holds_only, parse
from app.formats.lines import Line, Lines
from app.formats.registry import FORMATS, detect

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
        self._ended = False
        self._tally = Tally()

    @property
    def summary(self) -> Summary | None:
        """What the good rows are as a whole; None for a format that has nothing to tell."""
        if self.format is None or self.format.facts is None:
            return None
        return self._tally.summary(fewest_labels=self.format.fewest_labels)

    def feed(self, chunk: bytes) -> Iterator[Row | Fault]:
        """The examples that end in this chunk; take them all before the next."""
        return self._examples(self._lines.feed(chunk))

    def finish(self) -> Iterator[Row | Fault]:
        """The last example, if no line feed ends it; a Fault if there was none at all."""
        yield from self._examples(self._lines.finish())
        if not self.examples:
            yield Fault(1, 0, "The file has no examples. Write one JSON object per line.")

    def _examples(self, lines: Iterator[Line]) -> Iterator[Row | Fault]:
        for number, offset, line in lines:
            if self._ended:
                return
            self.examples += 1
            try:
                row = self._checked(line)
                if self.format is not None and self.format.facts is not None:
                    self._tally.add(self.format.facts(row), number)
                yield row
            except Flaw as flaw:
                reason = flaw.reason(self.examples, number)
                yield Fault(number, offset, reason, flaw.code)

    def _checked(self, line: bytes | None) -> Row:
        if line is None:
            raise Flaw(f" is longer than {self._longest:,} bytes", "Make it shorter.")
        if self.examples == 1:
            self._refuse_foreign(line)
        row: Row = parse(line)
        format = self.format or self._detect(row)
        # Both at C's speed, and nearly every example is spared the slow way.
        strings = format.plain(row)
        if strings and holds_only(line, strings):
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
