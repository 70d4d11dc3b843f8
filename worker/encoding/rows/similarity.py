"""Rows of scored pairs of texts."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from app.formats.embedding import ScoredTextPair
from worker.encoding.tokenizer import EncoderTokenizer, TokenizedText


@dataclass(frozen=True, slots=True, eq=False)
class ScoredPairRow:
    """A tokenized pair of texts with a similarity score."""

    first: TokenizedText
    second: TokenizedText
    score: float
    example_index: int

    @property
    def num_tokens(self) -> int:
        return len(self.first.ids) + len(self.second.ids)

    @property
    def is_complete(self) -> bool:
        return self.first.is_complete and self.second.is_complete

    @property
    def baseline_texts(self) -> Sequence[tuple[Hashable, TokenizedText]]:
        return tuple((text.ids.tobytes(), text) for text in (self.first, self.second))


def build_rows(
    examples: Sequence[ScoredTextPair], tokenizer: EncoderTokenizer
) -> list[ScoredPairRow]:
    """Tokenize the examples."""
    firsts = tokenizer.tokenize([example.first for example in examples])
    seconds = tokenizer.tokenize([example.second for example in examples])
    return [
        ScoredPairRow(first, second, example.score, source)
        for source, (example, first, second) in enumerate(
            zip(examples, firsts, seconds, strict=True)
        )
    ]
