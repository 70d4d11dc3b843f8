"""Rows of an encoder's training file: tokenized texts with their targets."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from worker.encoding.tokenizer import TokenizedText


class EncoderRow(Protocol):
    """A tokenized training row of any encoder method."""

    @property
    def example_index(self) -> int:
        """Index of the row's example in the file."""

    @property
    def num_tokens(self) -> int:
        """Tokens of all texts of the row."""

    @property
    def is_complete(self) -> bool:
        """False if any text was truncated."""

    @property
    def baseline_texts(self) -> Sequence[tuple[Hashable, TokenizedText]]:
        """Texts this row contributes to the drift baseline, each with the id of its source.

        A source is the content that several texts share, such as the context of several
        questions; duplicates within a source count once.
        """


@dataclass(frozen=True, slots=True, eq=False)
class TextRow:
    """A text and its training target.

    Rows made from one shared text, such as the windows of a context, have the same `source_id`.
    """

    text: TokenizedText
    target: NDArray[np.int64]
    example_index: int
    source_id: int | None = None

    @property
    def num_tokens(self) -> int:
        return len(self.text.ids)

    @property
    def is_complete(self) -> bool:
        return self.text.is_complete

    @property
    def baseline_texts(self) -> Sequence[tuple[Hashable, TokenizedText]]:
        return ((self.example_index if self.source_id is None else self.source_id, self.text),)
