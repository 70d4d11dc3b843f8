"""Tokenizes texts for encoders and pads batches, for both training and serving."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from app.formats.word_boundaries import CharSpan
from worker.encoding.character_tokenizer import split_unspaced_scripts
from worker.encoding.segmentation import Segmentation
from worker.model.special_tokens import make_plain_tokenizer

# Characters tokenized first for each token needed; most languages need a quarter of that.
CHARS_PER_TOKEN = 16
# Characters of a text that are read at most for each token needed. Some texts have few tokens, such
# as a megabyte of spaces or of words of over 100 characters; reading one would take seconds, during
# which no other text is tokenized.
MAX_CHARS_PER_TOKEN = 128
# Tokens before a cut that it may have changed; see `_sufficient_prefix`.
CUT_MARGIN_TOKENS = 128


@dataclass(frozen=True, slots=True, eq=False)
class TokenizedText:
    """Token ids of a text or of a pair, whose second text begins at `pair_start` (0 without one).

    `offsets` [tokens, 2] are each token's characters [start, end) in its own text; they are empty
    for special tokens. `is_complete` is false if the text was truncated.
    """

    # repr=False keeps users' texts out of tracebacks.
    ids: NDArray[np.int32] = field(repr=False)
    offsets: NDArray[np.int32] = field(repr=False)
    pair_start: int = 0
    is_complete: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class PaddedBatch:
    """A right-padded batch. `ids`, `mask` and `token_type_ids` are [rows, length].

    `mask` is false for padding. `token_type_ids` is 1 for a pair's second text, or None if the
    model has no token types.
    """

    ids: Tensor
    mask: Tensor
    token_type_ids: Tensor | None


def question_token_limit(length: int) -> int:
    """Compute a question's maximum tokens in a window of `length`; the rest is for the context."""
    return length // 2


class EncoderTokenizer:
    """A model's tokenizer that truncates to `length` tokens or the model's number of positions.

    Special tokens in texts, such as `[SEP]`, are ordinary text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, length: int) -> None:
        self.max_length = min(length, tokenizer.model_max_length)
        self.hf_tokenizer = tokenizer
        self._plain = make_plain_tokenizer(tokenizer)
        # Made when first used, and shared by the copies that `for_segmentation` returns.
        self._variants = {Segmentation.WORDS: self._plain}
        self._pad = tokenizer.pad_token_id or 0
        # None if the tokenizer can encode every text.
        self.unk_token_id: int | None = tokenizer.unk_token_id
        self._has_types = "token_type_ids" in tokenizer.model_input_names

    def with_length(self, length: int) -> "EncoderTokenizer":
        """Return a tokenizer of the same model that truncates to another length."""
        other = copy(self)
        other.max_length = min(length, self.hf_tokenizer.model_max_length)
        return other

    def for_segmentation(self, segmentation: Segmentation) -> "EncoderTokenizer":
        """Return a tokenizer of the same model that makes the tokens of a segmentation.

        Call it in the tokenizer's thread.
        """
        other = copy(self)
        if segmentation == Segmentation.CHARACTERS:
            if segmentation not in self._variants:
                self._variants[segmentation] = split_unspaced_scripts(self._plain)
            other._plain = self._variants[segmentation]
        return other

    def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
        """Tokenize and truncate texts, in a time nearly independent of the truncated rest.

        A text is also truncated where it has more than MAX_CHARS_PER_TOKEN characters per token.
        """
        if not texts:
            return []
        prefixes = [self._sufficient_prefix(text) for text in texts]
        encoded = self._encode(prefixes, None, stride=0)
        first: dict[int, int] = {}
        sample_indices = encoded["overflow_to_sample_mapping"]
        for index, row in enumerate(sample_indices):
            first.setdefault(row, index)
        counts = np.bincount(sample_indices, minlength=len(texts))
        return [
            TokenizedText(
                _ids(encoded, first[row]),
                _offsets(encoded, first[row]),
                is_complete=bool(count == 1) and len(prefixes[row]) == len(texts[row]),
            )
            for row, count in enumerate(counts)
        ]

    @property
    def max_question_tokens(self) -> int:
        """Maximum tokens that are read of a question."""
        return question_token_limit(self.max_length)

    def tokenize_windows(self, question: str, context: str, *, overlap: int) -> list[TokenizedText]:
        """Pair `question` with each sliding window of `context`; neighbours share `overlap` tokens.

        The question is truncated to leave at least half of a window for the context; then no window
        is complete. A context without tokens makes one window, of the question alone.
        """
        token_offsets = self._token_offsets(question)
        num_read = self._question_tokens_read(token_offsets)
        if num_read < len(token_offsets):
            question = question[: token_offsets[num_read - 1][1]] if num_read else ""
        context_tokens = (
            self.max_length - num_read - self.hf_tokenizer.num_special_tokens_to_add(pair=True)
        )
        # Windows that shared all of their tokens would never reach the end.
        encoded = self._encode(question, context, stride=min(overlap, context_tokens // 2))
        windows = []
        for row in range(len(encoded["input_ids"])):
            sequence_ids = encoded.sequence_ids(row)
            second = sequence_ids.index(1) if 1 in sequence_ids else len(sequence_ids)
            ids, offsets = _ids(encoded, row), _offsets(encoded, row)
            windows.append(TokenizedText(ids, offsets, second, num_read == len(token_offsets)))
        return windows

    def _question_tokens_read(self, token_offsets: Sequence[CharSpan]) -> int:
        """Count a question's tokens to read, without splitting a character of several tokens.

        The question is cut as text, and a part of a character cannot be written as text.
        """
        num_read = min(len(token_offsets), self.max_question_tokens)
        while (
            0 < num_read < len(token_offsets)
            and token_offsets[num_read][0] < token_offsets[num_read - 1][1]
        ):
            num_read -= 1
        return num_read

    def count_tokens(self, text: str) -> int:
        """Count the tokens of the complete text, without special tokens."""
        return len(self._token_offsets(text))

    def pad(self, texts: Sequence[TokenizedText], device: torch.device) -> PaddedBatch:
        """Right-pad the texts to the length of the longest."""
        longest = max(len(text.ids) for text in texts)
        ids = np.full((len(texts), longest), self._pad, dtype=np.int64)
        mask = np.zeros((len(texts), longest), dtype=bool)
        token_type_ids = np.zeros((len(texts), longest), dtype=np.int64)
        for row, text in enumerate(texts):
            ids[row, : len(text.ids)] = text.ids
            mask[row, : len(text.ids)] = True
            if text.pair_start:
                token_type_ids[row, text.pair_start : len(text.ids)] = 1
        return PaddedBatch(
            ids=torch.from_numpy(ids).to(device),
            mask=torch.from_numpy(mask).to(device),
            token_type_ids=torch.from_numpy(token_type_ids).to(device) if self._has_types else None,
        )

    def _token_offsets(self, text: str) -> list[CharSpan]:
        """Compute the character span of each token of the complete text."""
        encoded = self._plain(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        token_offsets: list[CharSpan] = encoded["offset_mapping"]
        return token_offsets

    def _sufficient_prefix(self, text: str) -> str:
        """Return a prefix with the text's first `max_length` tokens, or as much as is read.

        Tokenizing a megabyte takes seconds, during which no other text is tokenized. Cutting the
        text can change the tokens near the cut: fewer than 128 for WordPiece, which gives up on
        words of more than 100 characters; at most 4 measured for byte-level BPE (vocabulary of
        49,152; random letters, signs, spaces, one word repeated), whose merges depend on few
        neighbours even if nothing separates words, as in Chinese. CUT_MARGIN_TOKENS covers both.
        """
        tokens = self.max_length + CUT_MARGIN_TOKENS
        prefix = text[: CHARS_PER_TOKEN * tokens]
        if prefix == text:
            return text
        encoded = self._plain(prefix, add_special_tokens=False, verbose=False)
        if len(encoded["input_ids"]) >= tokens:
            return prefix
        return text[: MAX_CHARS_PER_TOKEN * tokens]

    def _encode(self, first: Any, second: str | None, *, stride: int) -> Any:
        return self._plain(
            first,
            second,
            truncation="only_second" if second is not None else True,
            max_length=self.max_length,
            stride=stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_attention_mask=False,
        )


def _ids(encoded: Any, row: int) -> NDArray[np.int32]:
    return np.array(encoded["input_ids"][row], dtype=np.int32)


def _offsets(encoded: Any, row: int) -> NDArray[np.int32]:
    return np.array(encoded["offset_mapping"][row], dtype=np.int32).reshape(-1, 2)
