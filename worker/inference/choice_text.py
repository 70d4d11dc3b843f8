"""Text and log-probabilities of one choice, token by token: detokenization and stop strings."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from app.wire.engine import ContentLogprob, TokenLogprob
from worker.inference.messages import Logprobs, Token
from worker.inference.stop_strings import StopStrings
from worker.inference.vocabulary import Vocabulary


@dataclass(slots=True)
class TextDelta:
    """The text and log-probabilities that one token added to a choice.

    Log-probabilities are emitted with the text of their token, so they may be delayed or
    grouped. A stop string is emitted neither as text nor as tokens.
    """

    text: str
    logprobs: list[ContentLogprob] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.text or self.logprobs)


class ChoiceText:
    """Tokens in, text deltas out. `has_stopped` turns true when a stop string was found."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        stops: Iterable[str],
        special: Mapping[int, str] | None = None,
    ) -> None:
        """`special` maps special tokens that are part of the text to what they are in it."""
        self._vocabulary = vocabulary
        self._detokenizer = vocabulary.new_detokenizer(special)
        self._stops = StopStrings(stops)
        # Characters decoded, and characters emitted.
        self._decoded = 0
        self._emitted = 0
        # Tokens not emitted yet, each with the number of characters before it.
        self._pending: deque[tuple[int, ContentLogprob]] = deque()

    @property
    def has_stopped(self) -> bool:
        return self._stops.has_matched

    def push(self, token: Token) -> TextDelta:
        if token.logprobs is not None:
            entry = to_content_logprob(self._vocabulary, token.id, token.logprobs)
            self._pending.append((self._decoded, entry))
        return self._emit(self._cut_at_stop(self._detokenizer.push(token.id)))

    def finish(self) -> TextDelta:
        """Emit the text held back, now that no token will follow."""
        text = self._cut_at_stop(self._detokenizer.flush()) + self._stops.flush()
        delta = self._emit(text)
        if not self.has_stopped:
            delta.logprobs += [logprob for _, logprob in self._pending]
        self._pending.clear()
        return delta

    def _cut_at_stop(self, text: str) -> str:
        self._decoded += len(text)
        return self._stops.push(text)

    def _emit(self, text: str) -> TextDelta:
        self._emitted += len(text)
        delta = TextDelta(text)
        while self._pending and self._pending[0][0] < self._emitted:
            delta.logprobs.append(self._pending.popleft()[1])
        return delta


def to_content_logprob(vocabulary: Vocabulary, id: int, logprobs: Logprobs) -> ContentLogprob:
    """Build OpenAI's entry of a token: text, bytes, log-probability and top alternatives."""
    chosen = _token_logprob(vocabulary, id, logprobs.chosen)
    top = [_token_logprob(vocabulary, top_id, value) for top_id, value in logprobs.top]
    return ContentLogprob(
        token=chosen.token, logprob=chosen.logprob, bytes=chosen.bytes, top_logprobs=top
    )


def _token_logprob(vocabulary: Vocabulary, id: int, logprob: float) -> TokenLogprob:
    data = vocabulary.token_bytes(id)
    return TokenLogprob(token=data.decode(errors="replace"), logprob=logprob, bytes=list(data))
