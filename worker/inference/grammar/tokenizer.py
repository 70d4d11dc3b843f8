"""A model's vocabulary as llguidance reads it: the bytes of each token, and which end a text."""

from collections.abc import Iterable

from llguidance import LLTokenizer, TokenizerWrapper

from worker.inference.vocabulary import Vocabulary

MARK = b"\xff"


def make_tokenizer(vocabulary: Vocabulary, stop_ids: Iterable[int]) -> LLTokenizer:
    """Build the tree of all tokens, which takes a second for a large vocabulary."""
    adapter = _VocabularyAdapter(vocabulary, stop_ids)
    adapter.tokenizer = LLTokenizer(
        TokenizerWrapper(adapter),
        eos_token=adapter.stop_ids or None,
        slices=LLTokenizer.json_slices(),
    )
    return adapter.tokenizer


def _as_text(data: bytes) -> bytes:
    """Return a token's bytes; none if it has the byte that marks special tokens in llguidance.

    No text has this byte. Where a special token may come, it would be allowed too.
    """
    return b"" if MARK in data else data


class _VocabularyAdapter:
    """Adapter of a vocabulary to llguidance's TokenizerWrapper, with its function to tokenize."""

    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary, stop_ids: Iterable[int]) -> None:
        self._vocabulary = vocabulary
        self.tokenizer: LLTokenizer | None = None
        self.stop_ids = sorted(id for id in stop_ids if id < vocabulary.size)
        # Without any, llguidance adds one behind the vocabulary.
        self.eos_token_id = next(iter(self.stop_ids), None)
        self.tokens = [_as_text(vocabulary.text_bytes(id)) for id in range(vocabulary.size)]
        # A stop token is never part of a text, even if it has bytes.
        self.special_token_ids = self.stop_ids

    def __call__(self, text: str) -> list[int]:
        """Tokenize text that is the only possible one, as the model has seen it in training.

        llguidance relies on tokens that spell this text exactly, and ends the process's thread on
        an exception.
        """
        ids = self._vocabulary.encode_exactly(text)
        if ids is None and self.tokenizer is not None:
            ids = self.tokenizer.greedy_tokenize(text)
        return ids or []
