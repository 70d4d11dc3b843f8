"""Incremental detokenization: incomplete characters and partial stop strings are held back."""

from collections.abc import Callable, Iterable, Sequence

# A decoder's output for bytes that are not (or not yet) a character.
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

Decode = Callable[[Sequence[int]], str]


class Detokenizer:
    """Decodes ids incrementally; the deltas joined equal the decoding of all ids.

    Ids are decoded together with some before them, because a tokenizer may decode a token
    differently at the start of a text, and text is emitted only when it ends in a complete
    character. This is the algorithm of vLLM, text-generation-inference and tokenizers'
    `DecodeStream`; the latter cannot flush a character that stays incomplete.
    """

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._ids: list[int] = []
        # Ids before `_start` are no longer needed; those before `_emitted` are emitted.
        self._start = 0
        self._emitted = 0

    def push(self, id: int) -> str:
        """Add a token and return the text that is final; "" inside of a character."""
        self._ids.append(id)
        text = self._pending()
        if text.endswith(REPLACEMENT):
            return ""
        self._start, self._emitted = self._emitted, len(self._ids)
        return text

    def flush(self) -> str:
        """Return the text held back; an incomplete character becomes U+FFFD."""
        text = self._pending()
        self._start = self._emitted = len(self._ids)
        return text

    def _pending(self) -> str:
        before = self._decode(self._ids[self._start : self._emitted])
        return self._decode(self._ids[self._start :])[len(before) :]


class StopStrings:
    """Cuts text at the first stop string; holds back text that may be the start of one."""

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(stops)
        self._pending = ""
        self.has_matched = False

    def push(self, text: str) -> str:
        """Add text and return the final part: without a stop string and anything after it."""
        self._pending += text
        matches = [position for stop in self._stops if (position := self._pending.find(stop)) >= 0]
        if matches:
            self.has_matched = True
            return self._take(min(matches))
        return self._take(len(self._pending) - self._partial_match_length())

    def flush(self) -> str:
        """Return the text held back, which turned out not to be a stop string."""
        return "" if self.has_matched else self._take(len(self._pending))

    def _take(self, length: int) -> str:
        text, self._pending = self._pending[:length], self._pending[length:]
        return text

    def _partial_match_length(self) -> int:
        """Length of the longest suffix of the text that is a prefix of a stop string."""
        max_length = max((len(stop) for stop in self._stops), default=1) - 1
        for length in range(min(max_length, len(self._pending)), 0, -1):
            if any(stop.startswith(self._pending[-length:]) for stop in self._stops):
                return length
        return 0
