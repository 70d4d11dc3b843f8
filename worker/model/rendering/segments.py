"""Tokens of the segments between special tokens, remembered so that each is tokenized once."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

# Of the segments that a cache remembers, twice: those of two generations.
MAX_CACHED_CHARACTERS = 2_000_000
# Objects that hold a segment's tokens take about as much memory as those of this many characters.
SEGMENT_COST = 64


@dataclass(frozen=True, slots=True, eq=False)
class EncodedText:
    """Token ids of a text, and the position of the character that each token begins with."""

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]

    def token_at(self, position: int) -> int:
        """Find the first token that begins at or after a character's position."""
        return int(np.searchsorted(self.starts, position, side="left"))


def join(pieces: Sequence[EncodedText], positions: Sequence[int]) -> EncodedText:
    """Join the tokens of a text's pieces, each of which begins at a character's position."""
    if not pieces:
        return EncodedText(np.array([], dtype=np.int32), np.array([], dtype=np.int64))
    shifts = np.repeat(positions, [len(piece.ids) for piece in pieces])
    starts = np.concatenate([piece.starts for piece in pieces]) + shifts
    return EncodedText(np.concatenate([piece.ids for piece in pieces]), starts)


class TokenCache:
    """Tokens of segments, bounded by their characters; the oldest are forgotten.

    Not for texts of several tenants: the time that a text takes would tell whether it is known.
    """

    def __init__(self) -> None:
        self._recent: dict[str, EncodedText] = {}
        self._older: dict[str, EncodedText] = {}
        self._characters = 0

    def get(self, segment: str) -> EncodedText | None:
        tokens = self._recent.get(segment)
        if tokens is None and (tokens := self._older.get(segment)) is not None:
            self.put(segment, tokens)
        return tokens

    def put(self, segment: str, tokens: EncodedText) -> None:
        cost = len(segment) + SEGMENT_COST
        if self._characters + cost > MAX_CACHED_CHARACTERS:
            self._older, self._recent, self._characters = self._recent, {}, 0
        self._recent[segment] = tokens
        self._characters += cost


def has_independent_segments(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Check that the tokens between two special tokens depend on the text between them alone.

    They do not where a special token takes the white space around it, or where only the beginning
    of a text gets a space.
    """
    added = tokenizer.added_tokens_decoder.values()
    if any(
        token.special and (token.lstrip or token.rstrip or token.single_word or token.normalized)
        for token in added
    ):
        return False
    return not any(scheme == "first" for scheme in _find_schemes(tokenizer))


def _find_schemes(tokenizer: PreTrainedTokenizerBase) -> Iterator[str]:
    """Yield the prepend schemes of the pre-tokenizer's steps."""
    step = tokenizer.backend_tokenizer.pre_tokenizer
    if step is None:
        return
    nodes = [json.loads(step.__getstate__())]
    while nodes:
        node = nodes.pop()
        nodes += node.get("pretokenizers", ())
        yield node.get("prepend_scheme", "")
