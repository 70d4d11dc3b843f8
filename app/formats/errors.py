"""Errors in training files: at most one per example, each a sentence that says how to fix it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

MAX_QUOTED_LENGTH = 40
MAX_QUOTED_KEYS = 5
JSON_TYPE_NAMES = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}


class ErrorCode(StrEnum):
    """OpenAI's two codes for training files: a line is not an example at all, or an invalid one."""

    INVALID_TRAINING_FILE = "invalid_training_file"
    INVALID_FILE_FORMAT = "invalid_file_format"


@dataclass(frozen=True, slots=True)
class LineError:
    """The error of one example.

    `line` counts from 1, blank lines included; `offset` is the byte at which the line starts.
    """

    line: int
    offset: int
    reason: str
    code: ErrorCode = ErrorCode.INVALID_FILE_FORMAT


class InvalidExample(Exception):
    """An example cannot be used.

    `text` continues "Example 3", or "Example 3, message 2" if `message_number` (from 1) is given.
    `hint` is a sentence that says how to fix it.
    """

    def __init__(
        self,
        text: str,
        hint: str,
        *,
        message_number: int | None = None,
        code: ErrorCode = ErrorCode.INVALID_FILE_FORMAT,
    ) -> None:
        super().__init__(text)
        self.text = text
        self.hint = hint
        self.message_number = message_number
        self.code = code

    def format_reason(self, example: int, line: int) -> str:
        """The full error message for the example and the line with these numbers."""
        message = "" if self.message_number is None else f", message {self.message_number}"
        return f"Example {example}{message}{self.text}. {self.hint}"


class InvalidJson(InvalidExample):
    """A line is not JSON; `text` is the parser's message."""

    def format_reason(self, example: int, line: int) -> str:
        return f"Example {example} cannot be parsed. Error: {self.text} (line {line}). {self.hint}"


def escape_for_message(text: str) -> str:
    """Escape a file's text for an error message: truncated, non-printable characters escaped."""
    short = text if len(text) <= MAX_QUOTED_LENGTH else f"{text[:MAX_QUOTED_LENGTH]}…"
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in short)


def json_type_name(value: object) -> str:
    """The type of a JSON value, for use in a sentence."""
    return "null" if value is None else JSON_TYPE_NAMES.get(type(value), "a number")


def reject_unknown_keys(keys: Iterable[str], allowed: Iterable[str], subject: str) -> None:
    """Raise InvalidExample for the keys that are not allowed, with OpenAI's message."""
    reject_unknown_keys_of([(keys, tuple(allowed), subject)])


def reject_unknown_keys_of(objects: Iterable[tuple[Iterable[str], Sequence[str], str]]) -> None:
    """Raise InvalidExample for the unknown keys of several objects, all at once.

    Each object comes with its allowed keys and the subject of a sentence.
    """
    extra: list[str] = []
    hints: list[str] = []
    for keys, allowed, subject in objects:
        unknown = [key for key in keys if key not in allowed]
        extra += unknown
        if unknown and len(hints) < MAX_QUOTED_KEYS:
            hints.append(f"{subject} may only have {', '.join(allowed)}.")
    if not extra:
        return
    quoted = ", an extra ".join(f'"{escape_for_message(key)}"' for key in extra[:MAX_QUOTED_KEYS])
    others = f" and {len(extra) - MAX_QUOTED_KEYS} more" if len(extra) > MAX_QUOTED_KEYS else ""
    raise InvalidExample(f" contains an extra {quoted}{others}", " ".join(hints))
