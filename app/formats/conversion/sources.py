"""Rows of a dataset's file: JSON Lines, a JSON document, or a table with a header."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from app.formats.conversion.json_documents import iter_elements
from app.formats.errors import InvalidExample, LineError
from app.formats.json_lines import parse
from app.formats.layouts import find_delimiter
from app.formats.lines import LineSplitter
from app.formats.rows import MAX_LINE_BYTES

Row = dict[str, Any]
CHUNK_BYTES = 2**20
BOM = b"\xef\xbb\xbf"
# An object over several lines, or SQuAD's, which is often one line of many MiB.
DOCUMENT_START = re.compile(
    rb'\s*(\[|\{\s*\n|\{\s*("version"\s*:\s*"[^"]{0,64}"\s*,\s*)?"data"\s*:\s*\[)'
)


class UnreadableSource(Exception):
    """The file as a whole cannot be converted; the message is a sentence."""


def iter_rows(path: Path) -> Iterator[tuple[int, Row | LineError]]:
    """Yield the line and the row of each example, or its error. Raises UnreadableSource."""
    with path.open("rb") as file:
        start = file.read(2**16).removeprefix(BOM)
        file.seek(0)
        if DOCUMENT_START.match(start):
            yield from _iter_document(file)
        elif start.lstrip()[:1] == b"{":
            yield from _iter_lines(file)
        else:
            yield from _iter_table(file, start)


def _iter_lines(file: BinaryIO) -> Iterator[tuple[int, Row | LineError]]:
    splitter = LineSplitter(MAX_LINE_BYTES)
    for lines in (*map(splitter.feed, _chunks(file)), splitter.finish()):
        for number, offset, line in lines:
            yield number, _parse_line(number, offset, line)


def _parse_line(number: int, offset: int, line: bytes | None) -> Row | LineError:
    if line is None:
        return LineError(number, offset, f"is longer than {MAX_LINE_BYTES:,} bytes.")
    return _parse_object(number, offset, line)


def _parse_object(number: int, offset: int, text: bytes) -> Row | LineError:
    try:
        row = parse(text)
    except InvalidExample as error:
        return LineError(number, offset, f"cannot be parsed: {error.text}. {error.hint}")
    if isinstance(row, dict):
        return row
    return LineError(number, offset, "is not an object. Write each example as one JSON object.")


def _iter_document(file: BinaryIO) -> Iterator[tuple[int, Row | LineError]]:
    try:
        for number, element in iter_elements(_chunks(file)):
            yield number, _parse_object(number, 0, element)
    except InvalidExample as error:
        raise UnreadableSource(f"The JSON document{error.text}. {error.hint}") from error


def _iter_table(file: BinaryIO, start: bytes) -> Iterator[tuple[int, Row | LineError]]:
    first = start.splitlines()[0].decode(errors="replace") if start.splitlines() else ""
    delimiter = find_delimiter(first)
    if delimiter is None:
        raise UnreadableSource(
            "The file is neither JSON Lines, nor a JSON document, nor CSV or TSV whose first line "
            "names its columns."
        )
    with io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        yield from _read_table(text, delimiter)


def _read_table(text: TextIO, delimiter: str) -> Iterator[tuple[int, Row | LineError]]:
    # Where a quote is never closed, the rest of the file would be one field.
    csv.field_size_limit(MAX_LINE_BYTES)
    table = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(table)]
        number = table.line_num + 1
        for values in table:
            if values:
                yield number, _to_row(header, values, number)
            number = table.line_num + 1
    except csv.Error as error:
        raise UnreadableSource(
            f"The table is damaged in line {table.line_num}: {error}."
        ) from error
    except UnicodeDecodeError as error:
        raise UnreadableSource(
            f"The file is not UTF-8 after line {table.line_num}: {error.reason}. Save it as UTF-8."
        ) from error


def _to_row(header: list[str], values: list[str], number: int) -> Row | LineError:
    if len(values) != len(header):
        reason = f"has {len(values)} values, and the header {len(header)} columns."
        return LineError(number, 0, reason)
    # An empty field is no value: tables have no other way to leave one out.
    return {name: value for name, value in zip(header, values, strict=True) if value}


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk
