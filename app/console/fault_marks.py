"""Finds the place of a fault in a line of a training file, by the reason that the API gives.

The API names a line and a reason. What the reason points at (a column, a message, a key) is marked
in the line where it can be found; otherwise the line is shown without a mark.
"""

import json
import re
from dataclasses import dataclass

# Parsers of JSON count characters from 0, as `(char 17)`.
COLUMN = re.compile(r"\(char (\d+)\)")
NOT_UTF8 = "is not UTF-8"
LAST_MESSAGE = "The last message must be"
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
MESSAGE = re.compile(r", message (\d+)")
MESSAGES_BEGIN = re.compile(r'"messages"\s*:\s*\[')
BETWEEN_ITEMS = re.compile(r"[\s,]*")
KEY_END = re.compile(r"\s*:\s*")
# A quoted word, or the key in ": label is a number".
NAMES = re.compile(r'"([^"\s]{1,40})"|\'([^\'\s]{1,40})\'|: (\w+) is |, (\w+): |is missing (\w+)')
# Shown on each side of the fault.
CONTEXT_CHARS = 400
MAX_MARKED_CHARS = 300


@dataclass(frozen=True, slots=True)
class MarkedLine:
    """A line, or the part of it around the fault. `fault` is empty if the place is unknown."""

    before: str
    fault: str
    after: str


def mark_fault(line: str, reason: str) -> MarkedLine:
    """Split a line at its fault, and cut what is far away from it."""
    start, end = _find_fault(line, reason)
    end = min(end, start + MAX_MARKED_CHARS)
    before, after = line[:start], line[end:]
    if start == end:
        return MarkedLine("", "", _cut(line, 2 * CONTEXT_CHARS))
    if len(before) > CONTEXT_CHARS:
        before = "…" + before[-CONTEXT_CHARS:]
    return MarkedLine(before, line[start:end], _cut(after, CONTEXT_CHARS))


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[:length] + "…"


def _find_fault(line: str, reason: str) -> tuple[int, int]:
    """The first and the last position of the fault; the same twice if it is not found."""
    column = COLUMN.search(reason)
    if column is not None:
        # A line that ends too early is marked at its last character.
        at = min(int(column[1]), max(0, len(line) - 1))
        return at, at + 1
    if NOT_UTF8 in reason:
        at = line.find(REPLACEMENT)
        return (at, at + 1) if at >= 0 else (0, 0)
    span = _find_message(line, reason) or _find_last_message(line, reason)
    start, end = span or (0, len(line))
    for names in NAMES.findall(reason):
        found = _find_name(line, next(filter(None, names)), start, end)
        if found is not None:
            return found
    return span or (0, 0)


def _find_name(line: str, name: str, start: int, end: int) -> tuple[int, int] | None:
    """Find a quoted word, with its value if it is a key."""
    quoted = json.dumps(name, ensure_ascii=False)
    at = line.find(quoted, start, end)
    if at < 0:
        return None
    after = at + len(quoted)
    colon = KEY_END.match(line, after)
    if colon is None:
        return at, after
    return at, _find_value_end(line, colon.end()) or after


def _find_message(line: str, reason: str) -> tuple[int, int] | None:
    """Find the message that the reason names by its number."""
    number = MESSAGE.search(reason)
    begin = MESSAGES_BEGIN.search(line)
    if number is None or begin is None:
        return None
    at = begin.end()
    for index in range(1, int(number[1]) + 1):
        gap = BETWEEN_ITEMS.match(line, at)
        at = gap.end() if gap else at
        end = _find_value_end(line, at)
        if end is None:
            return None
        if index == int(number[1]):
            return at, end
        at = end
    return None


def _find_last_message(line: str, reason: str) -> tuple[int, int] | None:
    """Find the message after which the reason misses one."""
    begin = MESSAGES_BEGIN.search(line)
    if LAST_MESSAGE not in reason or begin is None:
        return None
    found = None
    at = begin.end()
    while True:
        gap = BETWEEN_ITEMS.match(line, at)
        at = gap.end() if gap else at
        end = _find_value_end(line, at)
        if end is None:
            return found
        found = at, end
        at = end


def _find_value_end(line: str, start: int) -> int | None:
    """Find the end of the JSON value that begins at `start`; None if there is none."""
    try:
        return json.JSONDecoder().raw_decode(line, start)[1]
    except (ValueError, RecursionError):
        return None
