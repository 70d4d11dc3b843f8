"""Reading the examples of a file that was judged good."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from app.formats.errors import LineError
from app.formats.rows import Row, RowParser

T = TypeVar("T")

CHUNK_BYTES = 2**20


class InvalidTrainingFile(ValueError):
    """The file holds an example that a judge does not pass; the message is the fault's."""


def iter_examples(path: Path, converters: Mapping[str, Callable[[Row], T]]) -> Iterator[T]:
    """The examples of a file that is in one of the formats in `readers`, each made by its reader.

    They are all that a Judge accepts, in the file's order, and nothing else. Raises FaultyFile at
    the first example that it would not accept, if there is none, and for any other format.
    """
    rows = RowParser()
    for row in _parse_file(path, rows):
        if isinstance(row, LineError):
            raise InvalidTrainingFile(row.reason)
        name = "" if rows.format is None else rows.format.name
        if name not in converters:
            raise InvalidTrainingFile(
                f"The file is in the {name} format, not {' or '.join(converters)}."
            )
        yield converters[name](row)


def _parse_file(path: Path, rows: RowParser) -> Iterator[Row | LineError]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield from rows.feed(chunk)
    yield from rows.finish()
