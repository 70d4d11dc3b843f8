"""The grammar of strict calls in an answer that is free otherwise: each call begins it anew."""

from collections.abc import Callable

from torch import Tensor

from worker.inference.answers.answer_parser import AnswerParser
from worker.inference.detokenizer import Detokenizer
from worker.inference.grammar.grammar import Grammar, GrammarState


class StrictCalls:
    """Shared by the choices of one request. Immutable.

    `calls` is the grammar of what follows an opening. The parser that reads an answer tells where
    one is, so that nothing is read as a call that the grammar has not seen.
    """

    def __init__(
        self,
        calls: Grammar,
        make_parser: Callable[[], AnswerParser],
        make_detokenizer: Callable[[], Detokenizer],
    ) -> None:
        self._calls = calls
        self._make_parser = make_parser
        self._make_detokenizer = make_detokenizer

    def start(self) -> "StrictCallsState":
        """Begin a text."""
        return StrictCallsState(self._calls, self._make_parser(), self._make_detokenizer())


class StrictCallsState:
    """One answer. Outside of calls it is free, and costs a look at each character."""

    is_complete = False

    def __init__(self, calls: Grammar, parser: AnswerParser, detokenizer: Detokenizer) -> None:
        self._calls = calls
        self._parser = parser
        self._detokenizer = detokenizer
        self._call: GrammarState | None = None

    def logit_limits(self, vocab_size: int) -> Tensor | None:
        """Compute the limits of logits in a call; None outside of calls. Raises GrammarDeadEnd."""
        return None if self._call is None else self._call.logit_limits(vocab_size)

    def advance(self, token: int) -> None:
        """Add a token to the text."""
        num_openings = self._parser.num_openings
        # Parts are of no interest here; the server has a parser of its own.
        self._parser.push(self._detokenizer.push(token))
        if self._call is not None:
            self._call.advance(token)
        elif self._parser.num_openings > num_openings:
            self._call = self._begin(self._parser.after_opening)
        if self._call is not None and self._call.is_complete:
            self._call = None

    def _begin(self, text: str) -> GrammarState | None:
        """Begin a call, of which the opening's last token has some text.

        None if that is no call: then the answer's reader takes it as text.
        """
        call = self._calls.start()
        return call if call.advance_text(text) else None
