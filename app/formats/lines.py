"""Cutting a stream of bytes into lines, in the memory of one line."""

from collections.abc import Iterator

BOM = b"\xef\xbb\xbf"
# Chunks are cut in slices of this size, so that a big chunk of tiny lines is no big list of them.
SLICE = 2**20


class Lines:
    """Pushed chunks in; lines out, each with the offset of its first byte.

    A line ends at LF alone: `splitlines` would also end it within a string, at U+2028 or at CR.
    A line of more than `longest` bytes comes out as None, and is not held in memory.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._held = bytearray()
        self._size = 0
        self._offset = 0

    def feed(self, chunk: bytes) -> Iterator[tuple[int, bytes | None]]:
        """The lines that end in this chunk."""
        for start in range(0, len(chunk), SLICE):
            *ended, rest = chunk[start : start + SLICE].split(b"\n")
            for piece in ended:
                offset = self._offset
                yield offset, self._join(piece)
                self._offset = offset + self._size + len(piece) + 1
                self._size = 0
            self._hold(rest)

    def finish(self) -> Iterator[tuple[int, bytes | None]]:
        """The last line, if no LF ends it."""
        if self._size:
            yield self._offset, self._join(b"")

    def _join(self, piece: bytes) -> bytes | None:
        if self._size + len(piece) > self._longest:
            self._held.clear()
            return None
        if not self._size:
            return piece
        line = bytes(self._held + piece)
        self._held.clear()
        return line

    def _hold(self, rest: bytes) -> None:
        self._size += len(rest)
        if self._size <= self._longest:
            self._held += rest
