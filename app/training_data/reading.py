"""Reads training files from the store: a page of rows, or all bytes, in bounded pieces."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass

import orjson

from app.db.tables import File
from app.errors import InvalidRequest, NotFound
from app.formats.rows import BEGIN, Position
from app.http.dependencies import AppState
from app.training_data.row_page import (
    LineFinder,
    PageRequest,
    RowPage,
    parse_page,
    read_page,
)

# Read at first for a page; four times as much each time that this is too little.
FIRST_BYTES = 256 * 2**10
# Of a page. No valid line has more than a quarter of it.
MAX_READ_BYTES = 16 * 2**20
# Of a file, in search of a line.
MAX_SEARCHED_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class PageCursor:
    """The last example of a page; `position` is None if only its line is known."""

    line: int
    position: Position | None = None

    @classmethod
    def parse(cls, text: str | None) -> "PageCursor":
        """Parse `after`: a line, or a page's `last_id`. Raises InvalidRequest."""
        parts = (text or "0").split(":")
        if len(parts) not in (1, 3) or not all(_is_number(part) for part in parts):
            raise _build_invalid_cursor("expected the number of a line, or the last_id of a page")
        line, *others = map(int, parts)
        if not others:
            return cls(line)
        return cls(line, Position(line, *others))


def format_cursor(position: Position) -> str:
    """Format the cursor of the page that follows this example."""
    return f"{position.line}:{position.offset}:{position.example}"


async def read_rows(
    state: AppState, file: File, cursor: PageCursor, *, limit: int
) -> tuple[RowPage, bool]:
    """Read the page after a cursor; also whether others follow.

    Raises InvalidRequest, NotFound, CpuPoolError.
    """
    position = cursor.position
    if position is None and cursor.line > 0:
        position = await _find_line(state, file, cursor.line)
    start = position or BEGIN
    if start.offset >= file.bytes:
        raise _build_invalid_cursor("it is behind the end of the file")
    data, goal = bytearray(), FIRST_BYTES
    # With the byte before the example, which shows that a line begins behind it.
    async with aclosing(iterate(state, file, start=max(0, start.offset - 1))) as chunks:
        while True:
            is_whole = await _fill(data, chunks, goal)
            if start.offset and data[:1] != b"\n":
                raise _build_invalid_cursor("no example begins there")
            request = PageRequest(
                limit=limit,
                is_whole=is_whole,
                start=start,
                skips_first=position is not None,
                format=file.format,
            )
            payload = request.encode(bytes(data[1:] if start.offset else data))
            page = parse_page(await state.cpu_pool.call(file.project_id, read_page, payload))
            if page.is_full or is_whole:
                return page, page.is_full
            if goal >= MAX_READ_BYTES:
                break
            goal *= 4
    if not page.rows:
        raise InvalidRequest(
            f"No example ends within {MAX_READ_BYTES} bytes behind line {start.line}. Use the "
            "number of a later line as 'after'.",
            param="after",
        )
    return page, True


async def _fill(data: bytearray, chunks: AsyncIterator[bytes], goal: int) -> bool:
    """Read until there are at least `goal` bytes; return True at the end of the file."""
    async for chunk in chunks:
        data += chunk
        if len(data) >= goal:
            return False
    return True


async def iterate(state: AppState, file: File, *, start: int = 0) -> AsyncGenerator[bytes, None]:
    """Read the bytes of a file in chunks of 1 MiB, each in a thread. Raises NotFound."""

    def open_file() -> Iterator[bytes]:
        return state.store.chunks(file.storage_key, start=start)

    try:
        chunks = await state.transfer_threads.run(open_file)
    except FileNotFoundError as error:
        raise NotFound(f"The content of {file.id} is no longer stored.", param="id") from error
    while (chunk := await state.transfer_threads.run(next, chunks, None)) is not None:
        yield chunk


async def _find_line(state: AppState, file: File, line: int) -> Position | None:
    """Find the last example up to a line. Raises InvalidRequest if it is too far away."""
    passed = searched = 0
    async with (
        state.cpu_pool.stream(file.project_id, LineFinder) as finder,
        aclosing(iterate(state, file)) as chunks,
    ):
        await finder.feed(str(line).encode())
        async for chunk in chunks:
            await finder.feed(chunk)
            passed += chunk.count(b"\n")
            searched += len(chunk)
            if passed >= line:
                break
            if searched >= MAX_SEARCHED_BYTES:
                raise InvalidRequest(
                    f"Line {line} is not among the first {MAX_SEARCHED_BYTES} bytes of the file. "
                    "Use the last_id of a page as 'after'.",
                    param="after",
                )
        fields = orjson.loads(await finder.finish())
    return None if fields is None else Position(**fields)


def _is_number(text: str) -> bool:
    return 0 < len(text) <= 15 and text.isascii() and text.isdigit()


def _build_invalid_cursor(reason: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid 'after': {reason}.", param="after", code="invalid_value")
