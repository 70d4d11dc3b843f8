"""Strict JSON parsing of one line.

Python's `json` accepts NaN, lone surrogates and duplicate keys, and raises other exception classes
for deep nesting and long numbers; orjson accepts duplicate keys and rounds long numbers. A line
that passes here has the same meaning to every parser, and Postgres can store it.
"""

import json
from typing import Any

import orjson

from app.formats.errors import InvalidExample, InvalidJson, escape_for_message

MAX_DEPTH = 64
# A float of this size or more may be an integer that orjson has rounded silently.
MAX_EXACT_FLOAT = 2.0**63
# Characters of an integer of 64 bits.
MAX_INTEGER_LENGTH = 20
DEFAULT_HINT = "Write each example as one JSON object on one line."
HINTS = {
    "trailing comma is not allowed": "Remove the comma before the closing bracket.",
    "unexpected character, expected a string key": "Put keys and strings in double quotes.",
    "unexpected control character in string": "Write line breaks in text as \\n and tabs as \\t.",
    "unexpected content after document": "Write one example per line, and nothing else.",
    "unexpected end of data": "The line ends too early: write the whole example on one line.",
    "depth limit exceeded": f"Nest no deeper than {MAX_DEPTH} levels.",
    "UTF-8 byte order mark (BOM) is not supported": "Remove the byte order mark (U+FEFF).",
    "number is infinity when parsed as double": "Write numbers of at most 64 bits, below 1.8e308.",
}
# orjson's messages for NaN and Infinity, and for -Infinity, which Python's parser accepts.
NAN_ERRORS = ("unexpected character, expected a JSON value", "no digit after sign")


def parse(line: bytes) -> Any:
    """Parse a line. Raises InvalidJson."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise _invalid_json(line, error) from error


def check_strictness(row: Any, line: bytes) -> None:
    """Raise InvalidExample for anything in `line`, parsed to `row`, that orjson is too lax about:
    duplicate keys, excessive nesting, integers beyond 64 bits, U+0000."""
    strings, may_be_rounded = _count_strings(row)
    if _count_unescaped_quotes(line) != 2 * strings:
        key = escape_for_message(_find_duplicate_key(line))
        raise InvalidExample(f' contains the key "{key}" twice in one object', "Keep one of them.")
    if may_be_rounded:
        # The numbers as they are written tell integers from floats, which may be as large.
        json.loads(line, parse_int=_check_integer)


def is_strict(line: bytes, string_count: int) -> bool:
    """Fast path of `check_strictness` for a row whose every value is valid: true if the line has
    exactly `string_count` strings, hence no duplicate key, and no U+0000."""
    if b"\\" not in line:
        return line.count(b'"') == 2 * string_count
    return _count_unescaped_quotes(line) == 2 * string_count and b"\\u0000" not in line


def _count_unescaped_quotes(line: bytes) -> int:
    """Count the quotation marks around strings: two per string, more if a key is duplicated."""
    bare = line.replace(b"\\\\", b"")
    return bare.count(b'"') - bare.count(b'\\"')


def _count_strings(row: Any) -> tuple[int, bool]:
    """Count strings in a row, keys included, and find whether a number may be a rounded integer.

    Level by level, since the input decides the depth.
    """
    strings, depth, level = 0, 0, [row]
    may_be_rounded = False
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise InvalidExample(" is nested too deep", f"Nest no deeper than {MAX_DEPTH} levels.")
        children: list[Any] = []
        for value in level:
            if isinstance(value, str):
                strings += 1
                _check_string(value)
            elif isinstance(value, dict):
                children += value
                children += value.values()
            elif isinstance(value, list):
                children += value
            elif isinstance(value, float) and abs(value) >= MAX_EXACT_FLOAT:
                may_be_rounded = True
        level = children
    return strings, may_be_rounded


def _check_integer(digits: str) -> None:
    if len(digits) > MAX_INTEGER_LENGTH or not -(2**63) <= int(digits) < 2**64:
        raise InvalidExample(
            " contains an integer too large",
            "Write integers of at most 64 bits, or a decimal number such as 1e30.",
        )


def is_nested_deeper(value: Any, max_depth: int) -> bool:
    """Check whether objects and arrays contain each other over more than `max_depth` levels."""
    level = [value]
    for _ in range(max_depth):
        level = [child for item in level for child in _list_containers(item)]
    return any(isinstance(item, dict | list) for item in level)


def _list_containers(value: Any) -> list[Any]:
    children = value.values() if isinstance(value, dict) else value
    return [child for child in children if isinstance(child, dict | list)]


def _check_string(value: str) -> None:
    if "\0" in value:
        raise InvalidExample(" contains the character U+0000", "Remove it.")


def _find_duplicate_key(line: bytes) -> str:
    duplicates: list[str] = []

    def collect(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                duplicates.append(key)
            seen.add(key)

    json.loads(line, object_pairs_hook=collect)
    return duplicates[0]


def _invalid_json(line: bytes, error: orjson.JSONDecodeError) -> InvalidJson:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as decode_error:
        reason = f"byte {decode_error.start + 1} of the line is not UTF-8"
        return InvalidJson(reason, "Save the file as UTF-8 and upload it again.")
    message = _stdlib_message(text)
    hint = _find_hint(text, error.msg, stdlib_agrees=message is not None)
    return InvalidJson(f"line contains invalid json: {message or error}", hint)


def _stdlib_message(text: str) -> str | None:
    """The message of Python's parser, which is what OpenAI shows; None where it finds no error."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return str(error)
    except (ValueError, RecursionError):
        return None  # over 4,300 digits, or nested too deep: orjson's message is better
    return None


def _find_hint(text: str, problem: str, *, stdlib_agrees: bool) -> str:
    if "\r" in text.strip():
        return "End lines with LF or CRLF; this file has bare carriage returns."
    if "surrogate" in problem:
        return "Write characters beyond U+FFFF as two \\u escapes, or as themselves."
    if not stdlib_agrees and problem in NAN_ERRORS:
        return "NaN and Infinity are not JSON: write null, or leave the key out."
    return HINTS.get(problem, DEFAULT_HINT)
