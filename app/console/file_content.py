"""Contents of files, as pages that show some of their rows need them."""

import base64
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from app.console.api_client import ApiCallError, ApiClient, build_path

BOM = b"\xef\xbb\xbf"
# A line that is not blank, without the space before it. As in all files, only LF ends a line.
LINE = re.compile(rb"\S[^\n]*")
# Of a file whose rows a page shows; those behind are known by their numbers only.
MAX_CONTENT_BYTES = 8 * 2**20
# Of a result file, which is of no use in parts. A report with 500 answers of 1,024 tokens fits.
MAX_RESULT_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class FileStart:
    """The first bytes of a file; all of it unless `is_cut`."""

    content: bytes
    is_cut: bool


async def read_start(api: ApiClient, file_id: str, limit: int) -> FileStart:
    """Read up to `limit` bytes of a file. Raises ApiCallError if it is gone."""
    path = build_path("v1", "files", file_id, "content")
    async with api.stream("GET", path) as response:
        if response.status >= 400:
            raise ApiCallError(response.status, _read_error(await response.read()))
        parts: list[bytes] = []
        size = 0
        async for chunk in response.chunks:
            parts.append(chunk)
            size += len(chunk)
            if size > limit:
                break
    return FileStart(b"".join(parts)[:limit], is_cut=size > limit)


async def find_rows(api: ApiClient, file_id: str) -> FileStart | None:
    """Read the first rows of a file; None if it is gone."""
    try:
        return await read_start(api, file_id, MAX_CONTENT_BYTES)
    except ApiCallError:
        return None


def parse_result(content: bytes) -> Any:
    """Parse a result file of JSON, which is sent as base64 unless the operator chose otherwise.

    For a thread, as all functions here that are not asynchronous: contents are long.
    """
    if not content.startswith(b"{"):
        content = base64.b64decode(content)
    return orjson.loads(content)


def iterate_rows(start: FileStart) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield positions, which count lines that are not blank from 1, and rows.

    A file may have been written by other means than it was checked by: a line that is no row is
    left out.
    """
    for position, line in _iterate_lines(start):
        if (row := _parse_row(line)) is not None:
            yield position, row


def parse_rows(start: FileStart, positions: Collection[int]) -> dict[int, dict[str, Any]]:
    """Parse the rows at some positions; those that the content lacks are left out."""
    last = max(positions, default=0)
    rows = {}
    for position, line in _iterate_lines(start):
        if position > last:
            break
        if position in positions and (row := _parse_row(line)) is not None:
            rows[position] = row
    return rows


def _iterate_lines(start: FileStart) -> Iterator[tuple[int, bytes]]:
    begin = len(BOM) if start.content.startswith(BOM) else 0
    # The last line may be a part of one.
    end = start.content.rfind(b"\n") + 1 if start.is_cut else len(start.content)
    # Blank lines cost neither memory nor a step: a file may have millions of them.
    for position, line in enumerate(LINE.finditer(start.content, begin, end), 1):
        yield position, line[0]


def _parse_row(line: bytes) -> dict[str, Any] | None:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return row if isinstance(row, dict) else None


def _read_error(content: bytes) -> dict[str, Any]:
    try:
        error = orjson.loads(content).get("error")
    except (orjson.JSONDecodeError, AttributeError):
        return {}
    return error if isinstance(error, dict) else {}
