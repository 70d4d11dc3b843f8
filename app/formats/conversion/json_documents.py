"""Elements of one large JSON document, in the memory of one element.

Public datasets are often one JSON array over many lines, or an object with an array in it, as in
SQuAD. The elements are cut out by their brackets, to be parsed one at a time.
"""

import re
from collections.abc import Iterable, Iterator

from app.formats.errors import InvalidExample

# An article of SQuAD has less than one MiB.
MAX_ELEMENT_BYTES = 16 * 2**20
# A string, a bracket, or the start of a string whose end has not been read.
TOKEN = re.compile(
    rb'(?P<string>"(?:[^"\\]++|\\.)*+")|(?P<bracket>[\[\]{}])|(?P<start>"(?:[^"\\]++|\\.)*+\\?\Z)',
    re.DOTALL,
)
SHAPE_HINT = "Write the examples as objects, with commas between them."


class JsonElements:
    """Push parser: chunks of a document in, `(line, element)` out.

    The elements are the objects in the outermost array, or in that at the key `array_key` of the
    outermost object. Raises InvalidExample if the document is damaged between its elements.
    """

    def __init__(self, array_key: str = "data") -> None:
        self._array_key = f'"{array_key}"'.encode()
        self._buffer = b""
        # All before this position of the buffer has been scanned.
        self._scanned = 0
        # The line of this position; lines are counted once, as the scan goes on.
        self._line, self._line_position = 1, 0
        self._depth = 0
        # Depth inside of the array of elements; None outside of it.
        self._array_depth: int | None = None
        self._last_string = b""
        # Position after the last element, or after the bracket before the first.
        self._gap_start = 0
        self._element_start: int | None = None
        self._count = 0

    def feed(self, chunk: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the elements that end in this chunk. Exhaust the iterator before the next call."""
        self._buffer += chunk
        position, self._scanned = self._scanned, len(self._buffer)
        for match in TOKEN.finditer(self._buffer, position):
            if match.lastgroup == "start":
                self._scanned = match.start()
            elif match.lastgroup == "bracket":
                yield from self._take_bracket(match.group(), match.start())
            elif self._depth == 1:
                self._last_string = match.group()
        self._drop_consumed()

    def finish(self) -> None:
        """Check that the document is complete."""
        if self._depth or not self._count:
            reason = "ends too early" if self._depth else "has no examples"
            raise InvalidExample(f" {reason}", "Save the whole document.")

    def _take_bracket(self, bracket: bytes, start: int) -> Iterator[tuple[int, bytes]]:
        if bracket in b"[{":
            self._open(bracket, start)
            return
        self._depth -= 1
        if self._array_depth is None:
            return
        if self._depth < self._array_depth:
            self._check_gap(start, expected=b"")
            self._array_depth = None
        elif self._depth == self._array_depth and self._element_start is not None:
            line = self._line_at(self._element_start)
            yield line, self._buffer[self._element_start : start + 1]
            self._element_start, self._gap_start = None, start + 1
            self._count += 1

    def _open(self, bracket: bytes, start: int) -> None:
        if bracket == b"[" and self._array_depth is None and self._is_array_of_elements():
            self._array_depth, self._gap_start = self._depth + 1, start + 1
        elif self._depth == self._array_depth:
            self._check_gap(start, expected=b"," if self._count else b"")
            self._element_start = start
        self._depth += 1

    def _is_array_of_elements(self) -> bool:
        if self._count:
            return False
        return self._depth == 0 or (self._depth == 1 and self._last_string == self._array_key)

    def _check_gap(self, end: int, *, expected: bytes) -> None:
        if self._buffer[self._gap_start : end].strip() != expected:
            line = self._line_at(end)
            raise InvalidExample(f" has something else than an object in line {line}", SHAPE_HINT)

    def _line_at(self, position: int) -> int:
        self._line += self._buffer.count(b"\n", self._line_position, position)
        self._line_position = position
        return self._line

    def _drop_consumed(self) -> None:
        """Forget the bytes that no element needs any more."""
        needed = self._scanned if self._array_depth is None else self._gap_start
        needed = needed if self._element_start is None else self._element_start
        line = self._line_at(needed)
        if len(self._buffer) - needed > MAX_ELEMENT_BYTES:
            raise InvalidExample(
                f" has an example of more than {MAX_ELEMENT_BYTES:,} bytes in line {line}",
                "Make it shorter.",
            )
        self._buffer = self._buffer[needed:]
        self._line_position = 0
        self._scanned -= needed
        self._gap_start -= needed
        if self._element_start is not None:
            self._element_start -= needed


def iter_elements(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the line and the bytes of each element of a document. Raises InvalidExample."""
    elements = JsonElements()
    for chunk in chunks:
        yield from elements.feed(chunk)
    elements.finish()
