"""Vocabulary drift: the token ids of a training file, and a text's share of tokens outside them."""

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
    """Set of the token ids in a training file, as a bit per token id, packed into bytes."""

    bits: NDArray[np.uint8]

    @classmethod
    def from_texts(cls, texts: Sequence[TokenizedText], *, unk_id: int | None) -> "VocabCoverage":
        """Collect the token ids of `texts`. The unknown token `unk_id` never counts as covered."""
        seen = np.zeros(1 + max((int(text.ids.max()) for text in texts), default=0), dtype=bool)
        for text in texts:
            seen[text.ids] = True
        if unk_id is not None and unk_id < len(seen):
            seen[unk_id] = False
        return cls(np.packbits(seen))

    @classmethod
    def from_base64(cls, text: str) -> "VocabCoverage":
        """Parse the output of `to_base64`. Raises ValueError."""
        return cls(np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8))

    def to_base64(self) -> str:
        return base64.b64encode(self.bits.tobytes()).decode()

    def oov_rate(self, text: TokenizedText) -> float:
        """Compute the out-of-vocabulary rate: the share of tokens that the training file lacks."""
        byte_index = text.ids >> 3
        is_inside = byte_index < len(self.bits)
        bits = self.bits[np.where(is_inside, byte_index, 0)] >> (7 - (text.ids & 7)) & 1
        return float(1 - (bits * is_inside).mean())


def baseline_histograms(
    texts: Sequence[TokenizedText], source_ids: Sequence[Hashable], *, unk_id: int | None
) -> dict[str, histogram_bins.BinCounts]:
    """Compute histograms of lengths and OOV rates of a training file, to compare traffic with.

    Leave-one-source-out OOV rate: each text is scored against the tokens of all *other* sources,
    since against the whole file every rate would be 0. That is the rate of a new text of the same
    kind: a second question on a context does not make the context's words any more common. If all
    texts have one source, new texts will have it too, and each text is its own source.
    """
    if len(set(source_ids)) == 1:
        source_ids = range(len(texts))
    size = 1 + max(int(text.ids.max()) for text in texts)
    num_sources = np.zeros(size, dtype=np.int64)
    for ids in _tokens_by_source(texts, source_ids):
        num_sources[np.unique(ids)] += 1
    if unk_id is not None and unk_id < size:
        num_sources[unk_id] = 0
    oov_rates = [float((num_sources[text.ids] <= 1).mean()) for text in texts]
    return {
        "text_lengths": histogram_bins.TEXT_LENGTH_BINS.count([len(text.ids) for text in texts]),
        "unknown_token_ratio": histogram_bins.RATIO_BINS.count(oov_rates),
    }


def _tokens_by_source(
    texts: Sequence[TokenizedText], source_ids: Sequence[Hashable]
) -> Iterator[NDArray[np.int32]]:
    """Yield the token ids of all texts of each source."""
    ids_by_source: dict[Hashable, list[NDArray[np.int32]]] = defaultdict(list)
    for text, source_id in zip(texts, source_ids, strict=True):
        ids_by_source[source_id].append(text.ids)
    return map(np.concatenate, ids_by_source.values())
