"""Training rows: token ids, and which of them are learned."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from worker.model.rendering.answers import Answer
from worker.model.rendering.segments import EncodedText
from worker.model.rendering.template import Span
from worker.model.rendering.template_tokenizer import TemplateTokenizer


@dataclass(frozen=True, slots=True, eq=False)
class TrainingRow:
    """A tokenized training row. `loss_mask[i]` is true if token i is in the loss."""

    ids: NDArray[np.int32]
    loss_mask: NDArray[np.bool_]
    # False if the row was cut at its end.
    is_complete: bool = True


@dataclass(slots=True)
class ChatRow:
    """The row of a whole chat, truncated to `length` tokens, in which answers are learned.

    An answer can only be learned here if its prompt's tokens are those that serving makes: they are
    not if one token would span the prompt's end and the answer's beginning. An answer that does not
    fit as a whole is not learned: a model that learned it would not learn how such answers end.
    """

    text: str
    encoded: EncodedText
    length: int
    mask: NDArray[np.bool_] = field(init=False)
    num_learned: int = 0
    # Answers that do not fit.
    num_cut: int = 0

    def __post_init__(self) -> None:
        self.mask = np.zeros(min(self.length, len(self.encoded.ids)), dtype=bool)

    def learn_span(self, span: Span, header_ids: list[int]) -> bool:
        """Learn a span after a header; return False if the prompt's tokens are others."""
        start, end = self.encoded.token_at(span.start), self.encoded.token_at(span.end)
        if start >= self.length:
            self.num_cut += 1
            return True
        header = self.encoded.ids[max(0, start - len(header_ids)) : start]
        if not np.array_equal(header, header_ids):
            return False
        self._learn(start, end)
        return True

    def learn_answer(self, answer: Answer, prompt_ids: list[int]) -> bool:
        """Learn an answer that the text contains; return False if it or its prompt differ."""
        start, end = len(prompt_ids), len(answer.prompt) + len(answer.text)
        if not self.text.startswith(answer.prompt + answer.text):
            return False
        if self.encoded.token_at(len(answer.prompt)) != start or not np.array_equal(
            self.encoded.ids[:start], prompt_ids
        ):
            return False
        self._learn(start, self.encoded.token_at(end))
        return True

    def _learn(self, start: int, end: int) -> None:
        if end > self.length:
            self.num_cut += 1
            return
        self.mask[start:end] = True
        self.num_learned += 1

    def to_row(self) -> TrainingRow:
        is_complete = len(self.encoded.ids) <= self.length
        return TrainingRow(self.encoded.ids[: self.length], self.mask, is_complete)


def encode_chat(tokens: TemplateTokenizer, text: str, length: int) -> ChatRow:
    """Encode a rendered chat as far as it is read."""
    return ChatRow(text, tokens.encode_with_positions(tokens.head(text, length)), length)


def encode_answer(
    tokens: TemplateTokenizer, answer: Answer, prompt_ids: list[int], length: int
) -> TrainingRow:
    """Encode a prompt and its answer as a row of their own, truncated to `length` tokens."""
    text = tokens.head(answer.text, length)
    ids = tokens.encode(answer.prompt + text)
    if ids[: len(prompt_ids)] != prompt_ids:
        ids = [*prompt_ids, *tokens.encode_continuation(text)]
    mask = np.arange(len(ids)) >= len(prompt_ids)
    return TrainingRow(
        np.array(ids[:length], dtype=np.int32), mask[:length], is_complete=len(ids) <= length
    )
