"""Reading the examples of a file that was judged good."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from app.formats.errors import Fault
from app.formats.rows import Row, Rows

T = TypeVar("T")

CHUNK = 2**20


class FaultyFile(ValueError):
    """The file holds an example that a judge does not pass; the message is the fault's."""


def read_as(path: Path, readers: Mapping[str, Callable[[Row], T]]) -> Iterator[T]:
    """The examples of a file that is in one of the formats in `readers`, each made by its reader.

    They are all that a Judge accepts, in the file's order, and nothing else. Raises FaultyFile at
    the first example that it would not accept, if there is none, and for any other format.
    """
    rows = Rows()
    for row in _pushed(path, rows):
        if isinstance(row, Fault):
            raise FaultyFile(row.reason)
        name = "" if rows.format is None else rows.format.name
        if name not in readers:
            raise FaultyFile(f"The file is in the {name} format, not {' or '.join(readers)}.")
        yield readers[name](row)


def _pushed(path: Path, rows: Rows) -> Iterator[Row | Fault]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield from rows.feed(chunk)
    yield from rows.finish()
