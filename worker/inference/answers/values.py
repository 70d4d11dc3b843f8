"""Reads values in calls: JSON, and what is like it."""

import json
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

from worker.inference.answers.char_reader import CharReader, Reading

# Values as Python writes them.
WORDS = {"True": True, "False": False, "None": None}
# Names of JSON Schema; a bool is an int in Python.
TYPE_NAMES: Sequence[tuple[type, set[str]]] = (
    (type(None), {"null"}),
    (bool, {"boolean"}),
    (int, {"integer", "number"}),
    (float, {"number"}),
    (str, {"string"}),
    (list, {"array"}),
    (dict, {"object"}),
)
SURROGATES = re.compile(r"[\ud800-\udfff]")
MAX_DEPTH = 100

Emit = Callable[[str], None]


class Broken(Exception):
    """A value ends in the middle, or is no value."""


def read_string(reader: CharReader) -> Reading[str]:
    """Read a JSON string after its first quote; returns it with both quotes."""
    chars = ['"']
    char = ""
    while char != '"':
        char = yield from reader.next()
        if not char:
            raise Broken
        chars.append(char)
        if char == "\\":
            chars.append((yield from reader.next()))
    return "".join(chars)


def read_json(reader: CharReader, first: str, emit: Emit) -> Reading[None]:
    """Pass a JSON value, of which the first character was read, on as it is written.

    Only brackets and strings are looked at: what a model writes may be no JSON. Raises Broken.
    """
    if first == '"':
        emit((yield from read_string(reader)))
        return
    if first not in "{[":
        yield from _read_word(reader, first, emit)
        return
    emit(first)
    depth = 1
    while depth:
        char = yield from reader.next()
        if not char:
            raise Broken
        if char == '"':
            emit((yield from _emit_string(reader, emit)))
            continue
        depth += (char in "{[") - (char in "}]")
        emit(char)


def _emit_string(reader: CharReader, emit: Emit) -> Reading[str]:
    """Pass a string on while it is read, after its first quote; returns its last quote."""
    emit('"')
    while True:
        char = yield from reader.next()
        if not char:
            raise Broken
        if char == '"':
            return char
        emit(char)
        if char == "\\":
            emit((yield from reader.next()))


class Quotes:
    """Tells whether a character of JSON is inside of a string."""

    def __init__(self) -> None:
        self.are_open = False
        self._is_escaped = False

    def advance(self, char: str) -> None:
        if self._is_escaped:
            self._is_escaped = False
        elif char == "\\" and self.are_open:
            self._is_escaped = True
        elif char == '"':
            self.are_open = not self.are_open


def _read_word(reader: CharReader, first: str, emit: Emit) -> Reading[None]:
    char = first
    while char and char not in ",}]) \t\r\n":
        emit(char)
        char = yield from reader.next()
    if not char:
        raise Broken
    reader.back()


def decode_string(text: str) -> str:
    """Decode a JSON string. Raises Broken."""
    try:
        return SURROGATES.sub("\N{REPLACEMENT CHARACTER}", json.loads(text, strict=False))
    except ValueError as error:
        raise Broken from error


def to_json(text: str, types: Collection[str]) -> str:
    """Write a value as JSON, of which a template writes texts without quotes.

    `types` are the names of JSON Schema that the value may have; none means any.
    """
    try:
        value = json.loads(text, parse_constant=_reject)
    except (ValueError, RecursionError):
        value = WORDS.get(text, text)
        return dump(value if not types or type_names(value) & set(types) else text)
    is_allowed = not types or type_names(value) & set(types) or "string" not in types
    # As the model wrote it, unless it is a text.
    return text.strip() if is_allowed and not isinstance(value, str) else dump(text)


def type_names(value: Any) -> set[str]:
    """Name the types of JSON Schema that a value has."""
    return next(names for type, names in TYPE_NAMES if isinstance(value, type))


def dump(value: Any) -> str:
    """Write a value as JSON that UTF-8 can encode."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isascii() or not SURROGATES.search(text) else json.dumps(value)


def _reject(constant: str) -> Any:
    """Reject numbers that only Python knows, such as NaN."""
    raise ValueError(constant)


class LiteralReader:
    """Reads values of which only texts are in quotes, such as Gemma's and Python's, as JSON.

    Numbers stay as they are written: as values, some would be others, or infinite.
    """

    def __init__(self, reader: CharReader, quote: str) -> None:
        self._reader = reader
        self._quote = quote

    def read(self, depth: int = 0) -> Reading[str]:
        """Read a value, and return its JSON. Raises Broken."""
        char = yield from self._reader.skip_space()
        if not char or depth == MAX_DEPTH:
            raise Broken
        if char in (self._quote, '"'):
            return dump((yield from self._read_text(char)))
        if char == "{":
            return (yield from self._read_object(depth))
        if char == "[":
            return (yield from self._read_list(depth))
        return (yield from self._read_word(char))

    def _read_text(self, quote: str) -> Reading[str]:
        chars: list[str] = []
        while True:
            char = yield from self._reader.next()
            if not char:
                raise Broken
            if char == quote:
                return "".join(chars)
            if char == "\\" and quote in "\"'":
                chars.append((yield from self._read_escape()))
            else:
                chars.append(char)

    def _read_escape(self) -> Reading[str]:
        char = yield from self._reader.next()
        if char == "u":
            digits = ""
            for _ in range(4):
                digits += yield from self._reader.next()
            try:
                return chr(int(digits, 16))
            except ValueError as error:
                raise Broken from error
        return {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}.get(char, char)

    def _read_object(self, depth: int) -> Reading[str]:
        values: dict[str, str] = {}
        while (char := (yield from self._reader.skip_space())) != "}":
            if char == ",":
                continue
            if char in (self._quote, '"'):
                key = yield from self._read_text(char)
                if (yield from self._reader.skip_space()) != ":":
                    raise Broken
            else:
                key = yield from self._read_key(char)
            values[key] = yield from self.read(depth + 1)
        return "{" + ", ".join(f"{dump(key)}: {value}" for key, value in values.items()) + "}"

    def _read_key(self, first: str) -> Reading[str]:
        key, char = "", first
        while char != ":":
            if not char:
                raise Broken
            key += char
            char = yield from self._reader.next()
        return key.strip()

    def _read_list(self, depth: int) -> Reading[str]:
        values: list[str] = []
        while (char := (yield from self._reader.skip_space())) != "]":
            if char == ",":
                continue
            if not char:
                raise Broken
            self._reader.back()
            values.append((yield from self.read(depth + 1)))
        return "[" + ", ".join(values) + "]"

    def _read_word(self, first: str) -> Reading[str]:
        chars: list[str] = []
        yield from _read_word(self._reader, first, chars.append) if first not in ",}])" else ()
        word = "".join(chars)
        try:
            json.loads(word, parse_constant=_reject)
        except ValueError:
            return dump(WORDS.get(word, word))
        return word
