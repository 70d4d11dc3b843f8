"""Read the examples of a valid training file."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from app.formats.errors import LineError
from app.formats.format import FormatName
from app.formats.rows import Row, RowParser

T = TypeVar("T")

READ_CHUNK_BYTES = 2**20


class InvalidTrainingFile(ValueError):
    """The file is invalid or in another format; the message gives the reason."""


def iter_examples(path: Path, converters: Mapping[FormatName, Callable[[Row], T]]) -> Iterator[T]:
    """Read a file in one of the formats in `converters`, which convert its rows to examples.

    Yields exactly the examples that DatasetValidator accepts, in file order. Raises
    InvalidTrainingFile at the first invalid example, for an empty file, and for any other format.
    """
    parser = RowParser()
    for row in _parse_file(path, parser):
        if isinstance(row, LineError):
            raise InvalidTrainingFile(row.reason)
        # A row is valid only if it matched a format.
        assert parser.format is not None
        name = parser.format.name
        if name not in converters:
            raise InvalidTrainingFile(
                f"The file is in the {name} format, not {' or '.join(converters)}."
            )
        yield converters[name](row)


def _parse_file(path: Path, parser: RowParser) -> Iterator[Row | LineError]:
    with path.open("rb") as file:
        while chunk := file.read(READ_CHUNK_BYTES):
            yield from parser.feed(chunk)
    yield from parser.finish()
