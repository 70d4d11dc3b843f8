"""What is wrong with a training file: one fault per example, in words that say what to do."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

# OpenAI's two kinds of bad files: the example is no chat at all, or a chat that cannot be used.
ErrorCode = Literal["invalid_training_file", "invalid_file_format"]
MAX_QUOTED_LENGTH = 40
JSON_TYPE_NAMES = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}


@dataclass(frozen=True, slots=True)
class LineError:
    """`line` counts from 1, blank lines too; `offset` is the byte at which the line starts."""

    line: int
    offset: int
    reason: str
    code: ErrorCode = "invalid_file_format"


class InvalidExample(Exception):
    """Why an example cannot be used, as what follows "Example 3" or "Example 3, message 2".

    Messages count from 1. `hint` is a sentence that says what to do.
    """

    def __init__(
        self,
        text: str,
        hint: str,
        *,
        message_number: int | None = None,
        code: ErrorCode = "invalid_file_format",
    ) -> None:
        super().__init__(text)
        self.text = text
        self.hint = hint
        self.message_number = message_number
        self.code = code

    def format_reason(self, example: int, line: int) -> str:
        """The whole sentences, for the example and the line with these numbers."""
        place = "" if self.message_number is None else f", message {self.message_number}"
        return f"Example {example}{place}{self.text}. {self.hint}"


class InvalidJson(InvalidExample):
    """Why a line is no JSON; `text` is what the parser says."""

    def reason(self, example: int, line: int) -> str:
        return f"Example {example} cannot be parsed. Error: {self.text} (line {line}). {self.hint}"


def escape_for_message(text: str) -> str:
    """Text of a file as a reason may show it: short, and without characters that do something."""
    short = text if len(text) <= MAX_QUOTED_LENGTH else f"{text[:MAX_QUOTED_LENGTH]}…"
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in short)


def json_type_name(value: object) -> str:
    """What a JSON value is called."""
    return "null" if value is None else JSON_TYPE_NAMES.get(type(value), "a number")


def reject_unknown_keys(keys: Iterable[str], allowed: Iterable[str], where: str) -> None:
    """Raises Flaw for the first key that is not allowed, in OpenAI's words."""
    for key in keys:
        if key not in allowed:
            allowed_ones = ", ".join(allowed)
            raise InvalidExample(
                f' contains an extra "{escape_for_message(key)}"',
                f"{where} may have {allowed_ones} only.",
            )
