"""Parts of an answer."""

from dataclasses import dataclass


@dataclass(slots=True)
class TextPart:
    text: str


@dataclass(slots=True)
class ReasoningPart:
    text: str


@dataclass(frozen=True, slots=True)
class CallPart:
    """The beginning of a call; its arguments follow."""

    name: str


@dataclass(slots=True)
class ArgumentsPart:
    """A piece of the arguments of the call before it, which are JSON."""

    text: str


Part = TextPart | ReasoningPart | CallPart | ArgumentsPart


class Parts:
    """Parts in order; neighbours of one kind are joined."""

    def __init__(self) -> None:
        self._parts: list[Part] = []

    def add(self, part: Part) -> None:
        last = self._parts[-1] if self._parts else None
        if isinstance(part, CallPart) or isinstance(last, CallPart) or type(last) is not type(part):
            self._parts.append(part)
        elif last is not None:
            last.text += part.text

    def take(self) -> list[Part]:
        taken, self._parts = self._parts, []
        return taken
