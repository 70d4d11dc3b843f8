"""The text of one choice as its tokens come in, and the log-probabilities that go with it."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.wire.engine import ContentLogprob, TokenLogprob
from worker.inference.detokenizer import Detokenizer, StopStrings
from worker.inference.messages import Logprobs, Token
from worker.inference.vocabulary import Vocabulary


@dataclass(slots=True)
class TextDelta:
    """What a token added. Tokens appear when their text does, so they may come late, or in a row.

    Text that turned out to be a stop string is given out neither as text nor as tokens.
    """

    text: str
    logprobs: list[ContentLogprob] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.text or self.logprobs)


class ChoiceText:
    """Tokens in, pieces out. `stopped` turns true when a stop string was found."""

    def __init__(self, vocabulary: Vocabulary, stops: Iterable[str]) -> None:
        self._vocabulary = vocabulary
        self._detokenizer = Detokenizer(vocabulary.decode)
        self._stops = StopStrings(stops)
        # Letters decoded so far, and letters given out.
        self._decoded = 0
        self._emitted = 0
        # Tokens not given out yet, with the number of letters before each.
        self._pending: deque[tuple[int, ContentLogprob]] = deque()

    @property
    def has_stopped(self) -> bool:
        return self._stops.has_matched

    def push(self, token: Token) -> TextDelta:
        if token.logprobs is not None:
            spelled = to_content_logprob(self._vocabulary, token.id, token.logprobs)
            self._pending.append((self._decoded, spelled))
        return self._emit(self._cut_at_stop(self._detokenizer.push(token.id)))

    def finish(self) -> TextDelta:
        """What was held back, now that no token will follow."""
        text = self._cut_at_stop(self._detokenizer.flush()) + self._stops.flush()
        piece = self._emit(text)
        if not self.has_stopped:
            piece.logprobs += [logprob for _, logprob in self._pending]
        self._pending.clear()
        return piece

    def _cut_at_stop(self, text: str) -> str:
        self._decoded += len(text)
        return self._stops.push(text)

    def _emit(self, text: str) -> TextDelta:
        self._emitted += len(text)
        piece = TextDelta(text)
        while self._pending and self._pending[0][0] < self._emitted:
            piece.logprobs.append(self._pending.popleft()[1])
        return piece


def to_content_logprob(vocabulary: Vocabulary, id: int, logprobs: Logprobs) -> ContentLogprob:
    """A token as it is written, how likely it was, and the likeliest beside it."""
    chosen = _token_logprob(vocabulary, id, logprobs.chosen)
    top = [_token_logprob(vocabulary, other, value) for other, value in logprobs.top]
    return ContentLogprob(
        token=chosen.token, logprob=chosen.logprob, bytes=chosen.bytes, top_logprobs=top
    )


def _token_logprob(vocabulary: Vocabulary, id: int, logprob: float) -> TokenLogprob:
    spelling = vocabulary.token_bytes(id)
    return TokenLogprob(
        token=spelling.decode(errors="replace"), logprob=logprob, bytes=list(spelling)
    )
