"""Reasoning in a training file, on which the rendering of all of its rows depends."""

from collections import OrderedDict
from contextlib import aclosing

import orjson

from app.db.tables import File
from app.formats.errors import LineError
from app.formats.format import FormatName
from app.formats.reasoning import ANSWER_READERS, has_mark, teaches_reasoning
from app.formats.registry import FORMATS
from app.formats.rows import MAX_LINE_BYTES, RowParser
from app.http.dependencies import AppState
from app.training_data.reading import iterate

# Of a file. Reasoning that begins later than this is not found.
MAX_SEARCHED_BYTES = 512 * 2**20
MAX_REMEMBERED_FILES = 10_000


class ReasoningFinder:
    """Remembers which files have reasoning. One per process, for one event loop."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, bool] = OrderedDict()

    async def find(self, state: AppState, file: File) -> bool:
        """Check whether any answer to learn in a file has reasoning."""
        if file.format not in (FormatName.CHAT, FormatName.PREFERENCE):
            return False
        known = self._known.get(file.id)
        if known is None:
            known = self._known[file.id] = await _search(state, file)
            while len(self._known) > MAX_REMEMBERED_FILES:
                self._known.popitem(last=False)
        return known


async def _search(state: AppState, file: File) -> bool:
    searched, rest = 0, b""
    async with aclosing(iterate(state, file)) as chunks:
        async for chunk in chunks:
            searched += len(chunk)
            end = chunk.rfind(b"\n") + 1
            lines = rest + chunk[:end] if end else b""
            rest = chunk[end:] if end else rest + chunk
            if len(rest) > MAX_LINE_BYTES:
                rest = b""
            if await _teaches(state, file, lines):
                return True
            if searched >= MAX_SEARCHED_BYTES:
                return False
    return await _teaches(state, file, rest)


async def _teaches(state: AppState, file: File, lines: bytes) -> bool:
    if not await state.transfer_threads.run(has_mark, lines):
        return False
    payload = f"{file.format}\n".encode() + lines
    return bool(orjson.loads(await state.cpu_pool.call(file.project_id, find_reasoning, payload)))


def find_reasoning(payload: bytes) -> bytes:
    """A task of the CPU pool: checks whole lines of a file in the format that precedes them."""
    name, _, lines = payload.partition(b"\n")
    format = next(each for each in FORMATS if each.name == name.decode())
    read_answers = ANSWER_READERS[format.name]
    marked = b"\n".join(line for line in lines.split(b"\n") if has_mark(line))
    parser = RowParser(format=format)
    rows = [*parser.feed(marked), *parser.finish()]
    found = any(
        not isinstance(row, LineError) and teaches_reasoning(read_answers(row)) for row in rows
    )
    return orjson.dumps(found)
