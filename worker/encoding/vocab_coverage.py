"""Which tokens a training file has, and how many of a text it does not: drift in words."""

import base64
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app import histogram_bins
from worker.encoding.tokenizer import TokenizedText


@dataclass(frozen=True, slots=True, eq=False)
class VocabCoverage:
    """The tokens of a training file; `bits` has one for each token id, eight in a number."""

    bits: NDArray[np.uint8]

    @classmethod
    def from_texts(cls, texts: Sequence[TokenizedText], *, unk_id: int | None) -> "VocabCoverage":
        """`never` is the id of the token for what the tokenizer cannot write: never familiar."""
        seen = np.zeros(1 + max((int(text.ids.max()) for text in texts), default=0), dtype=bool)
        for text in texts:
            seen[text.ids] = True
        if unk_id is not None and unk_id < len(seen):
            seen[unk_id] = False
        return cls(np.packbits(seen))

    @classmethod
    def from_base64(cls, text: str) -> "VocabCoverage":
        """The inverse of `to_text`. Raises ValueError."""
        return cls(np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8))

    def to_base64(self) -> str:
        return base64.b64encode(self.bits.tobytes()).decode()

    def oov_rate(self, text: TokenizedText) -> float:
        """The part of a text's tokens that the training file does not have."""
        places = text.ids >> 3
        here = places < len(self.bits)
        bits = self.bits[np.where(here, places, 0)] >> (7 - (text.ids & 7)) & 1
        return float(1 - (bits * here).mean())


def baseline_histograms(
    texts: Sequence[TokenizedText], source_ids: Sequence[Hashable], *, unk_id: int | None
) -> dict[str, histogram_bins.BinCounts]:
    """Lengths and shares of unknown tokens of a training file's texts, for traffic to be held
    against.

    A file knows all of its own tokens. So each text is judged by those of other `origins`: unknown
    are the tokens that none of them has, which is what a new text of the same kind meets. A second
    question on a context does not make its words any better known. Where all are of one origin,
    new texts will be so too, and each is judged by all others.
    """
    if len(set(source_ids)) == 1:
        source_ids = range(len(texts))
    size = 1 + max(int(text.ids.max()) for text in texts)
    having = np.zeros(size, dtype=np.int64)
    for ids in _tokens_by_source(texts, source_ids):
        having[np.unique(ids)] += 1
    if unk_id is not None and unk_id < size:
        having[unk_id] = 0
    shares = [float((having[text.ids] <= 1).mean()) for text in texts]
    return {
        "lengths": histogram_bins.TEXT_LENGTH_BINS.count([len(text.ids) for text in texts]),
        "unknown": histogram_bins.RATIO_BINS.count(shares),
    }


def _tokens_by_source(
    texts: Sequence[TokenizedText], origins: Sequence[Hashable]
) -> Iterator[NDArray[np.int32]]:
    """The tokens of all texts of each origin."""
    found: dict[Hashable, list[NDArray[np.int32]]] = defaultdict(list)
    for text, origin in zip(texts, origins, strict=True):
        found[origin].append(text.ids)
    return map(np.concatenate, found.values())
