"""Reader of a text in pieces, for generators that wait for the next piece."""

from collections.abc import Generator, Sequence
from typing import TypeVar

Result = TypeVar("Result")
# Yields where it needs more text.
Reading = Generator[None, None, Result]

# What is read on trial is read again if it turns out to be something else. Names of functions are
# short, but arguments may come before them.
MAX_TRIAL_CHARS = 16_384


class NotACall(Exception):
    """Text that is read on trial is no call of an offered function."""


class CharReader:
    """Reads single characters; "" is the text's end."""

    def __init__(self) -> None:
        self._text = ""
        self._position = 0
        self._mark: int | None = None
        self._has_ended = False

    def push(self, text: str) -> None:
        start = self._position if self._mark is None else self._mark
        self._text = self._text[start:] + text
        self._position -= start
        self._mark = None if self._mark is None else 0

    def end(self) -> None:
        self._has_ended = True

    def next(self) -> Reading[str]:
        while self._position == len(self._text):
            if self._has_ended:
                return ""
            yield
        if self._mark is not None and self._position - self._mark > MAX_TRIAL_CHARS:
            raise NotACall
        char = self._text[self._position]
        self._position += 1
        return char

    def back(self) -> None:
        """Read the last character again."""
        self._position -= 1

    def mark(self) -> None:
        """Remember the position, to return to it or to take the text from it on."""
        self._mark = self._position

    def release(self) -> str:
        """Forget the mark, and return the text that was read since."""
        assert self._mark is not None
        start, self._mark = self._mark, None
        return self._text[start : self._position]

    def rewind(self) -> None:
        """Return to the mark, and forget it."""
        assert self._mark is not None
        self._position, self._mark = self._mark, None

    @property
    def is_marked(self) -> bool:
        return self._mark is not None

    @property
    def unread(self) -> str:
        """Text that was pushed and not read yet."""
        return self._text[self._position :]

    def skip_space(self) -> Reading[str]:
        """Skip white space, and read the character after it."""
        char = yield from self.next()
        while char.isspace():
            char = yield from self.next()
        return char

    def match(self, literals: Sequence[str]) -> Reading[int | None]:
        """Read one of these texts, which lack white space, whatever white space is between.

        Returns its index. None if there is another text; the position is then anywhere in it.
        """
        open = {index: text for index, text in enumerate(literals) if text}
        place = 0
        while open:
            char = yield from self.skip_space()
            open = {index: text for index, text in open.items() if text[place] == char}
            place += 1
            matched = next((index for index, text in open.items() if len(text) == place), None)
            if matched is not None:
                return matched
        return None

    def _has_cut(self, literals: Sequence[str]) -> bool:
        """Check whether one of these texts begins at the mark, and is cut by the end of all."""
        rest = "".join(self._text[self._mark :].split())
        return self._has_ended and any(text.startswith(rest) for text in literals if text)

    def try_match(
        self, literals: Sequence[str], *, may_be_cut: bool = False
    ) -> Reading[int | None]:
        """Read as `match` does, but read nothing if there is another text.

        With `may_be_cut`, the beginning of one of these texts at the end of all text is read too.
        """
        self.mark()
        try:
            index = yield from self.match(literals)
        except NotACall:
            index = None
        if index is None and not (may_be_cut and self._has_cut(literals)):
            self.rewind()
        else:
            self.release()
        return index
