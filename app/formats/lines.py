"""Split a byte stream into lines, in the memory of one line."""

from collections.abc import Iterable, Iterator

BOM = b"\xef\xbb\xbf"
# Chunks are split in slices of this size, to bound the list of lines of a chunk of tiny lines.
SLICE_BYTES = 2**16

# Number from 1, offset of the first byte, and the bytes; None for a line that is too long.
Line = tuple[int, int, bytes | None]


def read_lines(chunks: Iterable[bytes], *, max_line_bytes: int) -> Iterator[Line]:
    """Read the lines of a stream."""
    splitter = LineSplitter(max_line_bytes)
    for chunk in chunks:
        yield from splitter.feed(chunk)
    yield from splitter.finish()


class LineSplitter:
    """Push parser: chunks in, non-blank lines out.

    Only LF ends a line: `splitlines` would also split strings at U+2028 and at CR. A byte order
    mark is removed from the first line. A line of more than `max_line_bytes` is not buffered.
    """

    def __init__(self, max_line_bytes: int, *, number: int = 0, offset: int = 0) -> None:
        """`number` lines, `offset` bytes, come before the stream."""
        self._max_line_bytes = max_line_bytes
        self._number = number
        self._offset = offset
        # The unfinished line: its size, and its bytes while there are not too many.
        self._size = 0
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> Iterator[Line]:
        """Yield the lines that end in this chunk. Exhaust the iterator before the next call."""
        for start in range(0, len(chunk), SLICE_BYTES):
            pieces = chunk[start : start + SLICE_BYTES].split(b"\n")
            rest = pieces.pop()
            offset, end = self._offset, self._offset + self._size
            for number, piece in enumerate(pieces, start=self._number + 1):
                end += len(piece) + 1
                # Skip blank lines early: a file may hold half a billion of them.
                if piece or self._size:
                    line = self._take_line(piece, is_first=not offset)
                    if line is None or line.strip():
                        yield number, offset, line
                offset = end
            self._number += len(pieces)
            self._offset = offset
            self._buffer_rest(rest)

    def finish(self) -> Iterator[Line]:
        """Yield the last line, if it does not end with LF."""
        line = self._take_line(b"", is_first=not self._offset)
        if line is None or line.strip():
            yield self._number + 1, self._offset, line

    def _take_line(self, piece: bytes, *, is_first: bool) -> bytes | None:
        size, self._size = self._size + len(piece), 0
        if size > self._max_line_bytes:
            self._buffer.clear()
            return None
        if self._buffer:
            piece = bytes(self._buffer + piece)
            self._buffer.clear()
        return piece.removeprefix(BOM) if is_first else piece

    def _buffer_rest(self, rest: bytes) -> None:
        self._size += len(rest)
        if self._size <= self._max_line_bytes:
            self._buffer += rest
