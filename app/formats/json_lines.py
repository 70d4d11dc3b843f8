"""One line of JSON, without the traps of parsers that accept too much.

Python's `json` takes NaN, lone surrogates and duplicate keys, and has errors of other classes for
depth and long numbers; orjson takes duplicate keys and rounds long numbers. What passes here means
the same to every reader, and Postgres can store it.
"""

import json
from typing import Any

import orjson

from app.formats.errors import InvalidExample, InvalidJson, escape_for_message

MAX_DEPTH = 64
# From here on, a float may be an integer that orjson has rounded without a word.
MAX_EXACT_FLOAT = 2.0**63
DEFAULT_HINT = "Write each example as one JSON object on one line."
HINTS = {
    "trailing comma is not allowed": "Remove the comma before the closing bracket.",
    "unexpected character, expected a string key": "Put keys and strings in double quotes.",
    "unexpected control character in string": "Write line breaks in text as \\n and tabs as \\t.",
    "unexpected content after document": "Write one example per line, and nothing else.",
    "unexpected end of data": "The line ends too early: an example must be whole on one line.",
    "depth limit exceeded": f"Nest no deeper than {MAX_DEPTH} levels.",
    "UTF-8 byte order mark (BOM) is not supported": "Remove the byte order mark (U+FEFF).",
    "number is infinity when parsed as double": "Write numbers of at most 64 bits.",
}
# What orjson says of NaN and Infinity, and of -Infinity; Python's parser takes them.
NAN_ERRORS = ("unexpected character, expected a JSON value", "no digit after sign")


def parse(line: bytes) -> Any:
    """The value of a line. Raises Unparsable."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise _invalid_json(line, error) from error


def check_strictness(row: Any, line: bytes) -> None:
    """Raises Flaw for what the parser lets pass in `line`, which was parsed to `row`."""
    if _count_unescaped_quotes(line) != 2 * _count_strings(row):
        key = escape_for_message(_find_duplicate_key(line))
        raise InvalidExample(f' contains the key "{key}" twice in one object', "Keep one of them.")


def is_strict(line: bytes, string_count: int) -> bool:
    """Whether these good strings are all that a line holds: no key twice, no U+0000 anywhere."""
    if b"\\" not in line:
        return line.count(b'"') == 2 * string_count
    return _count_unescaped_quotes(line) == 2 * string_count and b"\\u0000" not in line


def _count_unescaped_quotes(line: bytes) -> int:
    """Quotation marks around strings; two for each string of the row unless a key came twice."""
    bare = line.replace(b"\\\\", b"")
    return bare.count(b'"') - bare.count(b'\\"')


def _count_strings(row: Any) -> int:
    """Strings in a row, keys among them. Level by level: the rows decide how deep this goes."""
    strings, depth, level = 0, 0, [row]
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise InvalidExample(" is nested too deep", f"Nest no deeper than {MAX_DEPTH} levels.")
        below: list[Any] = []
        for value in level:
            if isinstance(value, str):
                strings += 1
                _check_string(value)
            elif isinstance(value, dict):
                below += value
                below += value.values()
            elif isinstance(value, list):
                below += value
            elif isinstance(value, float) and abs(value) >= MAX_EXACT_FLOAT:
                raise InvalidExample(
                    " contains a number too large", "Write numbers of at most 64 bits."
                )
        level = below
    return strings


def _check_string(value: str) -> None:
    if "\0" in value:
        raise InvalidExample(" contains the character U+0000", "Remove it; text has no use for it.")


def _find_duplicate_key(line: bytes) -> str:
    twice: list[str] = []

    def collect(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                twice.append(key)
            seen.add(key)

    json.loads(line, object_pairs_hook=collect)
    return twice[0]


def _invalid_json(line: bytes, error: orjson.JSONDecodeError) -> InvalidJson:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as wrong:
        where = f"byte {wrong.start + 1} of the line is not UTF-8"
        return InvalidJson(where, "Save the file as UTF-8 and upload it again.")
    standard = _stdlib_message(text)
    hint = _find_hint(text, error.msg, standard_agrees=standard is not None)
    return InvalidJson(f"line contains invalid json: {standard or error}", hint)


def _stdlib_message(text: str) -> str | None:
    """What Python's parser says, which is what OpenAI shows; None where it sees no fault."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return str(error)
    except (ValueError, RecursionError):
        return None  # a number of over 4,300 digits, or nesting too deep: orjson says it better
    return None


def _find_hint(text: str, problem: str, *, standard_agrees: bool) -> str:
    if "\r" in text.strip():
        return "End lines with a line feed (LF or CRLF); this file has carriage returns alone."
    if "surrogate" in problem:
        return "Write characters beyond U+FFFF as two \\u escapes, or as themselves."
    if not standard_agrees and problem in NAN_ERRORS:
        return "NaN and Infinity are no JSON: write null, or leave the key out."
    return HINTS.get(problem, DEFAULT_HINT)
