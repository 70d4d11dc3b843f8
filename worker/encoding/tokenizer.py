"""From texts to token ids and padded batches. Training and serving both use it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from app.formats.word_boundaries import CharSpan

# Characters for each token that is wanted of a text, before all of it is looked at: most languages
# need a quarter of it.
CHARS_PER_TOKEN = 16
# So many tokens before a cut are not believed, as it may have changed them: see `_enough`.
CUT_MARGIN_TOKENS = 128


@dataclass(frozen=True, slots=True, eq=False)
class TokenizedText:
    """Token ids of a text, or of two: the second begins at `second`, which is 0 for one alone.

    `offsets` [tokens, 2] are the characters that each token stands for, in its own text; special
    tokens stand for none. `whole` is false if the end was cut off.
    """

    # Not in any traceback: it is what a user wrote.
    ids: NDArray[np.int32] = field(repr=False)
    offsets: NDArray[np.int32] = field(repr=False)
    pair_start: int = 0
    is_complete: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class PaddedBatch:
    """ids, mask and types [rows, length]; `mask` is true where a token stands, types 1 for a second
    text, or None if the model knows no types."""

    ids: Tensor
    mask: Tensor
    token_type_ids: Tensor | None


def question_token_limit(length: int) -> int:
    """Tokens that are read of a question where `length` are read at once, with its context."""
    return length // 2


class EncoderTokenizer:
    """A model's tokenizer. `length` is how many tokens of a text it gives at most: those asked for,
    but no more than the model has positions for, by what its tokenizer knows of it."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, length: int) -> None:
        self.max_length = min(length, tokenizer.model_max_length)
        self.hf_tokenizer = tokenizer
        self._pad = tokenizer.pad_token_id or 0
        # The token for what the tokenizer cannot write; many can write everything.
        self.unk_token_id: int | None = tokenizer.unk_token_id
        self._has_types = "token_type_ids" in tokenizer.model_input_names

    def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
        """Each text's beginning, for hardly more work than that takes."""
        if not texts:
            return []
        found = self._encode([self._sufficient_prefix(text) for text in texts], None, stride=0)
        first: dict[int, int] = {}
        pieces = found["overflow_to_sample_mapping"]
        for place, number in enumerate(pieces):
            first.setdefault(number, place)
        counts = np.bincount(pieces, minlength=len(texts))
        return [
            TokenizedText(
                _ids(found, first[number]),
                _offsets(found, first[number]),
                is_complete=bool(count == 1),
            )
            for number, count in enumerate(counts)
        ]

    @property
    def max_question_tokens(self) -> int:
        """Tokens of a question that are read."""
        return question_token_limit(self.max_length)

    def tokenize_windows(self, question: str, context: str, *, overlap: int) -> list[TokenizedText]:
        """`question` with each window of `context`; neighbours share `stride` tokens.

        A question is cut so that half of a window at least is left for the context; no window is
        whole then. A context without tokens makes one window, of the question alone.
        """
        places = self._token_offsets(question)
        read = self._question_tokens_read(places)
        if read < len(places):
            question = question[: places[read - 1][1]] if read else ""
        room = self.max_length - read - self.hf_tokenizer.num_special_tokens_to_add(pair=True)
        # Windows that share all of their room would never come to an end.
        found = self._encode(question, context, stride=min(overlap, room // 2))
        windows = []
        for number in range(len(found["input_ids"])):
            sides = found.sequence_ids(number)
            second = sides.index(1) if 1 in sides else len(sides)
            ids, offsets = _ids(found, number), _offsets(found, number)
            windows.append(TokenizedText(ids, offsets, second, read == len(places)))
        return windows

    def _question_tokens_read(self, places: Sequence[CharSpan]) -> int:
        """Tokens of a question that are read. Where a character takes several, it is read whole or
        not at all: its beginning cannot be written without the rest."""
        read = min(len(places), self.max_question_tokens)
        while 0 < read < len(places) and places[read][0] < places[read - 1][1]:
            read -= 1
        return read

    def count_tokens(self, text: str) -> int:
        """Tokens of all of a text, without special ones."""
        return len(self._token_offsets(text))

    def pad(self, texts: Sequence[TokenizedText], device: torch.device) -> PaddedBatch:
        """The texts filled up at their end to the length of the longest."""
        longest = max(len(text.ids) for text in texts)
        ids = np.full((len(texts), longest), self._pad, dtype=np.int64)
        mask = np.zeros((len(texts), longest), dtype=bool)
        types = np.zeros((len(texts), longest), dtype=np.int64)
        for row, text in enumerate(texts):
            ids[row, : len(text.ids)] = text.ids
            mask[row, : len(text.ids)] = True
            if text.pair_start:
                types[row, text.pair_start : len(text.ids)] = 1
        return PaddedBatch(
            ids=torch.from_numpy(ids).to(device),
            mask=torch.from_numpy(mask).to(device),
            token_type_ids=torch.from_numpy(types).to(device) if self._has_types else None,
        )

    def _token_offsets(self, text: str) -> list[CharSpan]:
        """The characters of each token of all of a text."""
        found = self.hf_tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        places: list[CharSpan] = found["offset_mapping"]
        return places

    def _sufficient_prefix(self, text: str) -> str:
        """The text, or a beginning of it that has the same first `length` tokens.

        A megabyte takes seconds, in which no other text is read. A cut changes the word that it
        goes through. WordPiece gives up on words of more than 100 characters, so that its tokens
        are fewer than UNSURE. A word of byte-level BPE has no end where nothing separates words,
        as in Chinese; there a merge hangs on its neighbours, theirs on their own only if those go
        first, and that is over after a few tokens: 4 at most among random letters, signs, spaces
        and one word repeated, in a vocabulary of 49,152.
        """
        tokens = self.max_length + CUT_MARGIN_TOKENS
        beginning = text[: CHARS_PER_TOKEN * tokens]
        if beginning == text:
            return text
        found = self.hf_tokenizer(beginning, add_special_tokens=False, verbose=False)
        return beginning if len(found["input_ids"]) >= tokens else text

    def _encode(self, first: Any, second: str | None, *, stride: int) -> Any:
        return self.hf_tokenizer(
            first,
            second,
            truncation="only_second" if second is not None else True,
            max_length=self.max_length,
            stride=stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_attention_mask=False,
        )


def _ids(found: Any, number: int) -> NDArray[np.int32]:
    return np.array(found["input_ids"][number], dtype=np.int32)


def _offsets(found: Any, number: int) -> NDArray[np.int32]:
    return np.array(found["offset_mapping"][number], dtype=np.int32).reshape(-1, 2)
