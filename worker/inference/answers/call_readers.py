"""Reads calls of tools in each of the known forms."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from worker.inference.answers.argument_types import find_types
from worker.inference.answers.char_reader import CharReader, NotACall, Reading
from worker.inference.answers.parts import ArgumentsPart, CallPart, Part
from worker.inference.answers.values import (
    Broken,
    LiteralReader,
    Quotes,
    decode_string,
    dump,
    read_json,
    read_string,
    to_json,
)
from worker.inference.stop_strings import StringMatcher
from worker.model.rendering.call_format import (
    CallFormat,
    Delimiters,
    NamedCalls,
    ObjectCalls,
    ParameterCalls,
    common_prefix,
    squeeze,
)

# Parameters of each function that may be called, as a JSON schema.
Functions = Mapping[str, Mapping[str, Any]]
# Types whose values are JSON where texts have no quotes.
CONTAINERS = frozenset({"object", "array"})
NAME_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


class CallReader(ABC):
    """Reads one call and what follows it.

    What is read before the function's name is known is on trial: NotACall says that it is none.
    """

    def __init__(
        self, reader: CharReader, functions: Functions, add: Callable[[Part], None]
    ) -> None:
        self._reader = reader
        self._functions = functions
        self._add = add

    @abstractmethod
    def read(self) -> Reading[bool]:
        """Read a call after the opening; returns whether another follows without an opening.

        Raises NotACall, and Broken if the text ends in the call or is no call from there on.
        """

    def _begin(self, name: str) -> None:
        """Report a call; from here on it cannot become a text again."""
        if name not in self._functions:
            raise NotACall
        self._reader.release()
        self._add(CallPart(name))

    def _write(self, text: str) -> None:
        if text:
            self._add(ArgumentsPart(text))

    def _read_name(self) -> Reading[str]:
        name, char = "", (yield from self._reader.skip_space())
        while char in NAME_CHARS and char:
            name += char
            char = yield from self._reader.next()
        if char:
            self._reader.back()
        return name


def make_call_reader(
    format: CallFormat, reader: CharReader, functions: Functions, add: Callable[[Part], None]
) -> CallReader:
    if isinstance(format, ObjectCalls):
        return ObjectCallReader(format, reader, functions, add)
    if isinstance(format, NamedCalls):
        return NamedCallReader(format, reader, functions, add)
    return ParameterCallReader(format, reader, functions, add)


class ObjectCallReader(CallReader):
    """Reads a JSON object; its keys may be in any order."""

    def __init__(self, format: ObjectCalls, *args: Any) -> None:
        super().__init__(*args)
        self._format = format
        self._ends = _squeeze_ends(format.delimiters)

    def read(self) -> Reading[bool]:
        if (yield from self._reader.skip_space()) != "{":
            raise NotACall
        has_begun = has_arguments = False
        early: list[str] = []
        char = yield from self._reader.skip_space()
        while char != "}":
            key = yield from self._read_text(char)
            if (yield from self._reader.skip_space()) != ":":
                raise Broken
            first = yield from self._reader.skip_space()
            if key == self._format.name_key and not has_begun:
                self._begin((yield from self._read_text(first)))
                has_begun = True
                self._write("".join(early))
            elif key == self._format.arguments_key and not has_arguments:
                has_arguments = True
                yield from self._read_arguments(first, self._write if has_begun else early.append)
            else:
                yield from read_json(self._reader, first, _ignore)
            char = yield from self._read_comma()
        if not has_begun:
            raise NotACall
        self._write("" if has_arguments else "{}")
        return (yield from self._reader.try_match(self._ends, may_be_cut=True)) == 0

    def _read_text(self, first: str) -> Reading[str]:
        if first != '"':
            raise Broken
        return decode_string((yield from read_string(self._reader)))

    def _read_arguments(self, first: str, emit: Callable[[str], None]) -> Reading[None]:
        """Read arguments as JSON, or as a text of JSON."""
        if first == '"':
            emit((yield from self._read_text(first)))
        else:
            yield from read_json(self._reader, first, emit)

    def _read_comma(self) -> Reading[str]:
        """Read what separates a value from the next key; returns the character after it."""
        char = yield from self._reader.skip_space()
        if char == ",":
            return (yield from self._reader.skip_space())
        if char != "}":
            raise Broken
        return char


class NamedCallReader(CallReader):
    """Reads a name and arguments in JSON."""

    def __init__(self, format: NamedCalls, *args: Any) -> None:
        super().__init__(*args)
        self._middles = [squeeze(middle) for middle in format.middles]
        self._ends = _squeeze_ends(format.delimiters)

    def read(self) -> Reading[bool]:
        name = yield from self._read_name()
        if any(self._middles) and (yield from self._reader.match(self._middles)) is None:
            raise NotACall
        first = yield from self._reader.skip_space()
        if first != "{":
            raise NotACall
        self._begin(name)
        yield from read_json(self._reader, first, self._write)
        return (yield from self._reader.try_match(self._ends, may_be_cut=True)) == 0


class ParameterCallReader(CallReader):
    """Reads a name and arguments between delimiters; they are reported as JSON, one by one."""

    def __init__(self, format: ParameterCalls, *args: Any) -> None:
        super().__init__(*args)
        self._format = format
        self._literals = LiteralReader(self._reader, format.quote) if format.quote else None
        closing, between = format.delimiters.closing, format.delimiters.between
        ends = [format.next, between or closing, closing]
        # Text up to which a value without quotes is read; it keeps the white space around.
        self._value_end = "" if format.quote else common_prefix(ends)
        size = len(squeeze(self._value_end))
        self._ends = [squeeze(end)[size:] for end in ends]
        self._first, self._empty = squeeze(format.first), squeeze(format.empty)
        self._key_end = squeeze(format.key_end)

    def read(self) -> Reading[bool]:
        name = yield from self._read_name()
        start = yield from self._reader.match([self._first, self._empty])
        if start is None:
            raise NotACall
        self._begin(name)
        if start == 1:
            self._write("{}")
            return False
        separator, end = "{", (yield from self._match_end_of_none())
        while end == 0:
            key = (yield from self._read_until(self._key_end)).strip()
            value = yield from self._read_value(name, key)
            self._write(f"{separator}{dump(key)}: {value}")
            separator = ", "
            end = yield from self._match_end()
        self._write("}" if separator == ", " else "{}")
        return end == 1 and self._format.delimiters.between is not None

    def _match_end_of_none(self) -> Reading[int]:
        """Read the end of a call without arguments, if it begins as one with; else return 0."""
        if not self._empty.startswith(self._first):
            return 0
        char = yield from self._reader.skip_space()
        self._reader.back()
        return (yield from self._match_end()) if self._empty[len(self._first)] == char else 0

    def _match_end(self) -> Reading[int]:
        """Read what follows a value; returns the index of its kind."""
        index = yield from self._reader.try_match(self._ends)
        if index is None:
            raise Broken
        return index

    def _read_value(self, name: str, key: str) -> Reading[str]:
        if self._literals is not None:
            return (yield from self._literals.read())
        types = find_types(self._functions[name], key)
        has_json = not types or bool(types & CONTAINERS)
        text = yield from self._read_until(squeeze(self._value_end), has_json=has_json)
        begin = self._format.key_end[len(self._format.key_end.rstrip()) :]
        end = self._value_end[: -len(self._value_end.lstrip())]
        return to_json(text.removeprefix(begin).removesuffix(end), types)

    def _read_until(self, end: str, *, has_json: bool = False) -> Reading[str]:
        """Read up to a text, whatever white space is in it.

        With `has_json`, the text may be an object or a list, whose strings may quote the end: the
        first end outside of them counts, or else the first one.
        """
        matcher, quotes, is_json = StringMatcher(end), Quotes(), None
        places: deque[int] = deque(maxlen=len(end))
        chars: list[str] = []
        quoted_end: int | None = None
        try:
            while char := (yield from self._reader.next()):
                chars.append(char)
                quotes.advance(char)
                if char.isspace():
                    continue
                is_json = has_json and char in "{[" if is_json is None else is_json
                places.append(len(chars) - 1)
                if not matcher.advance(char):
                    continue
                if not (is_json and quotes.are_open):
                    return self._take(chars, places[0], is_marked=quoted_end is not None)
                matcher = StringMatcher(end)
                if quoted_end is None:
                    quoted_end = places[0]
                    self._reader.mark()
        except NotACall:
            # The text is too long to look further.
            pass
        if quoted_end is None:
            raise Broken
        self._reader.rewind()
        return "".join(chars[:quoted_end])

    def _take(self, chars: list[str], size: int, *, is_marked: bool) -> str:
        if is_marked:
            self._reader.release()
        return "".join(chars[:size])


def _squeeze_ends(delimiters: Delimiters) -> list[str]:
    return [squeeze(delimiters.between or ""), squeeze(delimiters.closing)]


def _ignore(_text: str) -> None:
    """Drop a value that is neither a name nor arguments, such as an id."""
