"""Conversion of a dataset's file to a training file."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from app.formats.conversion.row_converters import CONVERTERS, ConversionOptions
from app.formats.conversion.sources import UnreadableSource, iter_rows
from app.formats.errors import InvalidExample, LineError, escape_for_message
from app.formats.layouts import LABEL_COLUMNS, TEXT_COLUMNS, Layout, detect_layout
from app.formats.registry import FORMATS, detect_format
from app.formats.rows import RowParser

Row = dict[str, Any]
# Columns named in the summary.
MAX_NAMED_COLUMNS = 100
NUMBER_COLUMNS = ("score",)


class Conversion:
    """One file's conversion: iterate over `lines`, then read the counts.

    `layout` is found from the first row unless it is given; it stays None for rows that already
    are in a format.
    """

    def __init__(
        self, path: Path, options: ConversionOptions, layout: Layout | None = None
    ) -> None:
        self.layout = layout
        self.row_count = 0
        self.error_count = 0
        self.omitted_columns: Counter[str] = Counter()
        self._path = path
        self._options = options
        self._is_detected = layout is not None
        self._parser = RowParser()

    @property
    def format_name(self) -> str | None:
        """The name of the resulting format; None before the first valid row."""
        return None if self._parser.format is None else self._parser.format.name

    def lines(self) -> Iterator[bytes | LineError]:
        """Yield the lines of the training file, and an error for each row that gives none.

        Each line is checked as an upload does. Raises UnreadableSource.
        """
        for number, row in iter_rows(self._path):
            for result in [row] if isinstance(row, LineError) else self._convert(row, number):
                if isinstance(result, LineError):
                    self.error_count += 1
                else:
                    self.row_count += 1
                yield result

    def _convert(self, row: Row, number: int) -> Iterator[bytes | LineError]:
        row = {self._options.rename.get(name, name): value for name, value in row.items()}
        if not self._is_detected:
            self.layout = _detect(row)
            self._is_detected = True
        try:
            for converted in self._convert_row(row):
                yield self._check(orjson.dumps(converted) + b"\n", number)
        except KeyError as error:
            yield LineError(number, 0, f"lacks the column {error}.")
        except InvalidExample as error:
            place = "" if error.message_number is None else f"turn {error.message_number}"
            yield LineError(number, 0, f"{place}{error.text}. {error.hint}".lstrip(": "))

    def _convert_row(self, row: Row) -> Iterator[Row]:
        if self.layout is None:
            yield {name: _to_number(name, value) for name, value in row.items()}
            return
        converter = CONVERTERS[self.layout]
        self._count_omitted(row, converter.columns)
        yield from converter.convert(row, self._options)

    def _count_omitted(self, row: Row, columns: frozenset[str]) -> None:
        known = columns or {*TEXT_COLUMNS, *LABEL_COLUMNS}
        for name in row.keys() - known:
            if name in self.omitted_columns or len(self.omitted_columns) < MAX_NAMED_COLUMNS:
                self.omitted_columns[name] += 1

    def _check(self, line: bytes, number: int) -> bytes | LineError:
        for checked in self._parser.feed(line):
            if isinstance(checked, LineError):
                prefix = f"Example {self._parser.example_count}"
                return LineError(number, 0, checked.reason.removeprefix(prefix).lstrip(",: "))
        return line


def _detect(row: Row) -> Layout | None:
    """Detect the layout of the first row. A text with a label needs its label as a string."""
    layout = detect_layout(row)
    if layout is None and {"text", "label"} <= row.keys():
        return Layout.LABELLED
    if layout is None and detect_format(row, FORMATS) is None:
        columns = ", ".join(escape_for_message(name) for name in list(row)[:20])
        raise UnreadableSource(
            f"The columns {columns} are of no known layout. Name them with --rename, such as "
            "--rename body=text --rename topic=label."
        )
    return layout


def _to_number(name: str, value: Any) -> Any:
    """The number in a table's field that must be one."""
    if name not in NUMBER_COLUMNS or not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value
