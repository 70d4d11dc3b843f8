"""From token ids to text, as it streams: half characters and half stop strings are held back."""

from collections.abc import Callable, Iterable, Sequence

# What a decoder writes for bytes that are no character, or not yet one.
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

Decode = Callable[[Sequence[int]], str]


class Detokenizer:
    """Turns ids into text piece by piece; the pieces joined are the decoding of all ids.

    Ids are decoded together with some before them, because a tokenizer may write a token
    differently at the start of a text, and text is given out only when it ends in whole
    characters. The method is vLLM's and text-generation-inference's.
    """

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._ids: list[int] = []
        # Ids before `_start` are not needed any more; those before `_given` are given out.
        self._start = 0
        self._given = 0

    def push(self, id: int) -> str:
        """The text that is certain now; empty inside of a character."""
        self._ids.append(id)
        text = self._pending()
        if text.endswith(REPLACEMENT):
            return ""
        self._start, self._given = self._given, len(self._ids)
        return text

    def flush(self) -> str:
        """What was held back; a character cut short comes out as the replacement character."""
        text = self._pending()
        self._start = self._given = len(self._ids)
        return text

    def _pending(self) -> str:
        before = self._decode(self._ids[self._start : self._given])
        return self._decode(self._ids[self._start :])[len(before) :]


class StopStrings:
    """Cuts text at the first stop string; holds back what may be the beginning of one."""

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(stops)
        self._pending = ""
        self.has_matched = False

    def push(self, text: str) -> str:
        """The text that is certain now: nothing of a stop string, nor what follows it."""
        self._pending += text
        hits = [at for stop in self._stops if (at := self._pending.find(stop)) >= 0]
        if hits:
            self.has_matched = True
            return self._take(min(hits))
        return self._take(len(self._pending) - self._partial_match_length())

    def flush(self) -> str:
        """What was held back and turned out to be no stop string."""
        return "" if self.has_matched else self._take(len(self._pending))

    def _take(self, length: int) -> str:
        given, self._pending = self._pending[:length], self._pending[length:]
        return given

    def _partial_match_length(self) -> int:
        """Length of the longest end of the text that begins a stop string."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for length in range(min(longest, len(self._pending)), 0, -1):
            if any(stop.startswith(self._pending[-length:]) for stop in self._stops):
                return length
        return 0
