"""A page of a training file's rows, parsed in the CPU pool."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from app.formats.errors import LineError
from app.formats.format import FormatName
from app.formats.lines import Line, LineSplitter
from app.formats.registry import FORMATS
from app.formats.rows import BEGIN, MAX_LINE_BYTES, Position, Row, RowParser

# Of the rows of a page, as they are in the file; a row that is larger is alone on its page.
MAX_PAGE_BYTES = 512 * 2**10
# Of an invalid line that is shown.
MAX_SHOWN_CHARS = 4000


@dataclass(frozen=True, slots=True)
class PageRow:
    """One example: a valid row, or else the reason why it is none, and the begin of its line."""

    position: Position
    row: Row | None
    reason: str | None = None
    code: str | None = None
    line: str | None = None


@dataclass(frozen=True, slots=True)
class RowPage:
    """Rows of a page. `is_full` is false if the bytes ended before the page."""

    format: FormatName | None
    rows: list[PageRow]
    is_full: bool


@dataclass(frozen=True, slots=True)
class PageRequest:
    """The rows to read from `start` on; `start` itself is left out with `skips_first`.

    `is_whole` says that the bytes go to the end of the file. `format` is the file's, if it has one.
    """

    limit: int
    is_whole: bool
    start: Position = BEGIN
    skips_first: bool = False
    format: FormatName | None = None

    def encode(self, data: bytes) -> bytes:
        """Make the input of `read_page`."""
        return orjson.dumps(asdict(self)) + b"\n" + data


def read_page(payload: bytes) -> bytes:
    """A task of the CPU pool: parses the bytes of a file from the request's position on."""
    head, _, data = payload.partition(b"\n")
    fields = orjson.loads(head)
    start = Position(**fields["start"])
    format = next((each for each in FORMATS if each.name == fields["format"]), None)
    parser = RowParser(start=start, format=format)
    rows: list[dict[str, Any]] = []
    size = 0
    is_full = False
    for row in _parse(parser, data, is_whole=fields["is_whole"]):
        if fields["skips_first"] and parser.position == start:
            continue
        size += len(parser.line or b"")
        if len(rows) == fields["limit"] or (rows and size > MAX_PAGE_BYTES):
            is_full = True
            break
        rows.append(_describe(parser, row))
    name = None if parser.format is None else parser.format.name
    return orjson.dumps({"format": name, "rows": rows, "is_full": is_full})


def parse_page(result: bytes) -> RowPage:
    """The page that the task has returned."""
    fields = orjson.loads(result)
    rows = [PageRow(**row | {"position": Position(**row["position"])}) for row in fields["rows"]]
    format = None if fields["format"] is None else FormatName(fields["format"])
    return RowPage(format, rows, fields["is_full"])


def _parse(parser: RowParser, data: bytes, *, is_whole: bool) -> Iterator[Row | LineError]:
    yield from parser.feed(data)
    if is_whole:
        yield from parser.finish()


def _describe(parser: RowParser, row: Row | LineError) -> dict[str, Any]:
    position = asdict(parser.position)
    if not isinstance(row, LineError):
        return {"position": position, "row": row}
    shown = None if parser.line is None else parser.line[: 4 * MAX_SHOWN_CHARS]
    text = None if shown is None else shown.decode(errors="replace")[:MAX_SHOWN_CHARS]
    return {
        "position": position,
        "row": None,
        "reason": row.reason,
        "code": row.code,
        "line": text,
    }


class LineFinder:
    """A task of the CPU pool: finds the last example up to a line.

    The first bytes are the number of the line; those of the file, from its begin on, follow.
    """

    def __init__(self) -> None:
        self._line: int | None = None
        self._lines = LineSplitter(MAX_LINE_BYTES)
        self._count = 0
        self._found: Position | None = None

    def feed(self, chunk: bytes) -> None:
        if self._line is None:
            self._line = int(chunk)
            return
        self._find(self._lines.feed(chunk), self._line)

    def finish(self) -> bytes:
        self._find(self._lines.finish(), self._line or 0)
        return orjson.dumps(None if self._found is None else asdict(self._found))

    def _find(self, lines: Iterator[Line], last: int) -> None:
        for number, offset, _ in lines:
            if number <= last:
                self._count += 1
                self._found = Position(number, offset, self._count)
