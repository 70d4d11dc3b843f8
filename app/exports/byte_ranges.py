"""Range requests for archives (RFC 9110): interrupted downloads go on where they ended."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from app.errors import ApiError

# One range; several in one request may be ignored, and a client that asks for them gets it all.
RANGE = re.compile(r"bytes=(?:(\d{1,19})-(\d{0,19})|-(\d{1,19}))")


class RangeNotSatisfiable(ApiError):
    """The archive has no bytes in this range. Download it from its beginning."""

    status = 416
    type = "invalid_request_error"
    code = "range_not_satisfiable"

    def __init__(self, size: int) -> None:
        super().__init__()
        self.response_headers = {"Content-Range": f"bytes */{size}"}


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes [start, end) of `size`."""

    start: int
    end: int
    size: int

    @property
    def content_range(self) -> str:
        return f"bytes {self.start}-{self.end - 1}/{self.size}"


def find_range(headers: Mapping[str, str], size: int, etag: str) -> ByteRange | None:
    """Find the range that a request is for; None if it is for the whole of `size` bytes.

    `If-Range` with another tag means that the client has a part of another archive. Raises
    RangeNotSatisfiable.
    """
    match = RANGE.fullmatch(headers.get("range", "").strip())
    if match is None or headers.get("if-range", etag) != etag:
        return None
    first, last, suffix = match.groups()
    if first is None:
        start, end = max(size - int(suffix), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < int(first):
            return None
    if start >= end:
        raise RangeNotSatisfiable(size)
    return ByteRange(start, end, size)


def take_bytes(chunks: Iterator[bytes], count: int) -> Iterator[bytes]:
    """Yield the first `count` bytes."""
    for chunk in chunks:
        yield chunk[:count]
        count -= len(chunk)
        if count <= 0:
            return
