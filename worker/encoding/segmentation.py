"""Segmentation of a text into the units whose boundaries an entity or answer may have.

Training, evaluation and serving find the units of a text by the same function, from the text and
its tokens alone. The kind of segmentation is chosen from the training file and stored in the task.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from app.formats.word_boundaries import CharSpan, find_words, is_mark, trim_span

Offsets = NDArray[np.int32]
# Share of a file's spans that a segmentation may lack: a slip in one row out of hundreds should not
# decide how all texts are read.
MAX_LOST_SHARE = 0.01


class Segmentation(StrEnum):
    """Kinds of units, coarsest first.

    WORDS       words and symbols; a word has the tag of its first token
    PIECES      the tokenizer's pieces, for spans that begin or end inside words
    CHARACTERS  pieces, but in scripts without spaces between words each character is a piece
    """

    WORDS = "words"
    PIECES = "pieces"
    CHARACTERS = "characters"


@dataclass(frozen=True, slots=True)
class Units:
    """Units of a text in order, [start, end) in code points, and the first token of each.

    `tokens` is -1 for a word that was truncated or has no token.
    """

    spans: Sequence[CharSpan]
    tokens: NDArray[np.int32]


def find_units(text: str, offsets: Offsets, segmentation: Segmentation) -> Units:
    """Find the units of a text; `offsets` are those of its tokens."""
    if segmentation == Segmentation.WORDS:
        words = find_words(text)
        return Units(words, first_tokens(offsets, words))
    return _find_pieces(text, offsets)


def first_tokens(offsets: Offsets, words: Sequence[CharSpan]) -> NDArray[np.int32]:
    """Find each word's first token; -1 for a word that was truncated or has no token."""
    begins = np.full(len(words), -1, dtype=np.int32)
    word = 0
    for token, (start, end) in enumerate(offsets):
        if start == end:  # a special token
            continue
        while word < len(words) and words[word][1] <= start:
            word += 1
        if word < len(words) and begins[word] < 0 and end > words[word][0]:
            begins[word] = token
    return begins


def _find_pieces(text: str, offsets: Offsets) -> Units:
    """Make a unit of each token, without the whitespace that some tokenizers attach to it.

    Tokens that share a character, as in byte-level vocabularies, are one unit, and so are a
    character and the accents or vowel signs on it.
    """
    spans: list[CharSpan] = []
    tokens: list[int] = []
    for token, (begin, stop) in enumerate(offsets.tolist()):
        start, end = trim_span(text, begin, stop)
        if start >= end:
            continue
        last_end = spans[-1][1] if spans else 0
        if spans and (start < last_end or (start == last_end and is_mark(text[start]))):
            spans[-1] = (spans[-1][0], max(end, last_end))
        else:
            spans.append((start, end))
            tokens.append(token)
    return Units(spans, np.array(tokens, dtype=np.int32))


def choose_segmentation(
    lost_by_kind: Iterable[tuple[Segmentation, int]], total: int
) -> Segmentation:
    """Choose the first kind that lacks hardly any of `total` spans, or else the one that lacks the
    fewest.

    `lost_by_kind` yields the kinds, coarsest first, with the number of spans that each lacks.
    """
    counts: dict[Segmentation, int] = {}
    for kind, lost in lost_by_kind:
        if lost <= MAX_LOST_SHARE * total:
            return kind
        counts[kind] = lost
    return min(counts, key=lambda kind: counts[kind])
