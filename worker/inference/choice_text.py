"""The text of one choice as its tokens come in, and the log-probabilities that go with it."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.wire.engine import ContentLogprob, TokenLogprob
from worker.inference.detokenizer import Detokenizer, StopStrings
from worker.inference.messages import Logprobs, Token
from worker.inference.vocabulary import Vocabulary


@dataclass(slots=True)
class Piece:
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
        self._given = 0
        # Tokens not given out yet, with the number of letters before each.
        self._held: deque[tuple[int, ContentLogprob]] = deque()

    @property
    def stopped(self) -> bool:
        return self._stops.found

    def push(self, token: Token) -> Piece:
        if token.logprobs is not None:
            spelled = with_logprob(self._vocabulary, token.id, token.logprobs)
            self._held.append((self._decoded, spelled))
        return self._give(self._stopped_at(self._detokenizer.push(token.id)))

    def finish(self) -> Piece:
        """What was held back, now that no token will follow."""
        text = self._stopped_at(self._detokenizer.flush()) + self._stops.flush()
        piece = self._give(text)
        if not self.stopped:
            piece.logprobs += [logprob for _, logprob in self._held]
        self._held.clear()
        return piece

    def _stopped_at(self, text: str) -> str:
        self._decoded += len(text)
        return self._stops.push(text)

    def _give(self, text: str) -> Piece:
        self._given += len(text)
        piece = Piece(text)
        while self._held and self._held[0][0] < self._given:
            piece.logprobs.append(self._held.popleft()[1])
        return piece


def with_logprob(vocabulary: Vocabulary, id: int, logprobs: Logprobs) -> ContentLogprob:
    """A token as it is written, how likely it was, and the likeliest beside it."""
    chosen = _one(vocabulary, id, logprobs.chosen)
    top = [_one(vocabulary, other, value) for other, value in logprobs.top]
    return ContentLogprob(
        token=chosen.token, logprob=chosen.logprob, bytes=chosen.bytes, top_logprobs=top
    )


def _one(vocabulary: Vocabulary, id: int, logprob: float) -> TokenLogprob:
    spelling = vocabulary.bytes_of(id)
    return TokenLogprob(
        token=spelling.decode(errors="replace"), logprob=logprob, bytes=list(spelling)
    )
