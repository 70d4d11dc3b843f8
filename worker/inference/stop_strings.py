"""Stop strings in a text that arrives in pieces, found in linear time (Knuth-Morris-Pratt)."""

from collections.abc import Iterable


class StopStrings:
    """Cuts text at the first stop string; holds back text that may be the start of one."""

    def __init__(self, stops: Iterable[str]) -> None:
        self._matchers = [StringMatcher(stop) for stop in stops]
        self._pending = ""
        self.has_matched = False

    def push(self, text: str) -> str:
        """Add text and return the final part: without a stop string and anything after it."""
        if not self._matchers:
            return text
        held = len(self._pending)
        self._pending += text
        for position, char in enumerate(text, start=held + 1):
            # If two end here, the longer one started earlier.
            matched = max([matcher.advance(char) for matcher in self._matchers])
            if matched:
                self.has_matched = True
                return self._take(position - matched)
        return self._take(len(self._pending) - max(m.matched_chars for m in self._matchers))

    def flush(self) -> str:
        """Return the text held back, which turned out not to be a stop string."""
        return "" if self.has_matched else self._take(len(self._pending))

    def _take(self, length: int) -> str:
        text, self._pending = self._pending[:length], self._pending[length:]
        return text


class StringMatcher:
    """Matches one string, character by character."""

    def __init__(self, stop: str) -> None:
        self._stop = stop
        self._borders = _compute_borders(stop)
        # Characters of the stop string that the text ends with.
        self.matched_chars = 0

    def advance(self, char: str) -> int:
        """Add a character; returns the stop string's length if it ends here, else 0."""
        while self.matched_chars and self._stop[self.matched_chars] != char:
            self.matched_chars = self._borders[self.matched_chars - 1]
        self.matched_chars += self._stop[self.matched_chars] == char
        return len(self._stop) if self.matched_chars == len(self._stop) else 0


def _compute_borders(stop: str) -> list[int]:
    """For each prefix, the length of its longest proper prefix that is also its suffix."""
    borders, length = [0] * len(stop), 0
    for index in range(1, len(stop)):
        while length and stop[index] != stop[length]:
            length = borders[length - 1]
        length += stop[index] == stop[length]
        borders[index] = length
    return borders
