"""What is wrong with a training file: one fault per example, in words that say what to do."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

# OpenAI's two kinds of bad files: the example is no chat at all, or a chat that cannot be used.
Code = Literal["invalid_training_file", "invalid_file_format"]
LONGEST_SHOWN = 40
KINDS = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}


@dataclass(frozen=True, slots=True)
class Fault:
    """`line` counts from 1, blank lines too; `offset` is the byte at which the line starts."""

    line: int
    offset: int
    reason: str
    code: Code = "invalid_file_format"


class Flaw(Exception):
    """Why an example cannot be used, as what follows "Example 3" or "Example 3, message 2".

    Messages count from 1. `hint` is a sentence that says what to do.
    """

    def __init__(
        self,
        text: str,
        hint: str,
        *,
        message: int | None = None,
        code: Code = "invalid_file_format",
    ) -> None:
        super().__init__(text)
        self.text = text
        self.hint = hint
        self.message = message
        self.code = code

    def reason(self, example: int, line: int) -> str:
        """The whole sentences, for the example and the line with these numbers."""
        place = "" if self.message is None else f", message {self.message}"
        return f"Example {example}{place}{self.text}. {self.hint}"


class Unparsable(Flaw):
    """Why a line is no JSON; `text` is what the parser says."""

    def reason(self, example: int, line: int) -> str:
        return f"Example {example} cannot be parsed. Error: {self.text} (line {line}). {self.hint}"


def shown(text: str) -> str:
    """Text of a file as a reason may show it: short, and without characters that do something."""
    short = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in short)


def kind(value: object) -> str:
    """What a JSON value is called."""
    return "null" if value is None else KINDS.get(type(value), "a number")


def refuse_extra(keys: Iterable[str], allowed: Iterable[str], where: str) -> None:
    """Raises Flaw for the first key that is not allowed, in OpenAI's words."""
    for key in keys:
        if key not in allowed:
            allowed_ones = ", ".join(allowed)
            raise Flaw(
                f' contains an extra "{shown(key)}"', f"{where} may have {allowed_ones} only."
            )
