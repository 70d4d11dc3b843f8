"""Reading the examples of a file that was judged good."""

from collections.abc import Iterator
from pathlib import Path

from app.formats.chat import ChatExample, example
from app.formats.faults import Fault
from app.formats.rows import Row, Rows

CHUNK = 2**20


class FaultyFile(ValueError):
    """The file holds an example that a judge does not pass; the message is the fault's."""


def read_examples(path: Path) -> Iterator[ChatExample]:
    """The chats of a file, in its order: all that a Judge accepts, and nothing else.

    Raises FaultyFile at the first example that it would not accept, or if there is none.
    """
    for row in _rows(path):
        if isinstance(row, Fault):
            raise FaultyFile(row.reason)
        yield example(row)


def _rows(path: Path) -> Iterator[Row | Fault]:
    rows = Rows()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield from rows.feed(chunk)
    yield from rows.finish()
