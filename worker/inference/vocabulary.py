"""The vocabulary: bytes of single tokens, and text of token sequences."""

import re
from collections.abc import Mapping, Sequence

from transformers import PreTrainedTokenizerBase

from worker.inference.detokenizer import (
    ByteDetokenizer,
    Detokenizer,
    SpecialTokenDetokenizer,
    TextDetokenizer,
)

# A token of a byte-fallback tokenizer that stands for one byte.
BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")
# A space, as SentencePiece spells it in a token.
SPACE_MARK = "\N{LOWER ONE EIGHTH BLOCK}"


def _gpt2_byte_decoder() -> dict[str, int]:
    """Invert GPT-2's byte alphabet: printable bytes are themselves, others 256 and up."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {chr(byte): byte for byte in printable}
    return letters | {chr(256 + index): byte for index, byte in enumerate(others)}


BYTE_DECODER = _gpt2_byte_decoder()


class Vocabulary:
    """The decoding half of a tokenizer. Thread-safe."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder
        self._added = {id: str(token) for id, token in added.items()}
        self._special_ids = frozenset(id for id, token in added.items() if token.special)
        self._byte_level = "ByteLevel" in repr(tokenizer.backend_tokenizer.decoder)
        self._byte_fallback = "ByteFallback" in repr(tokenizer.backend_tokenizer.decoder)

    @property
    def size(self) -> int:
        return len(self._tokenizer)

    def new_detokenizer(self, special: Mapping[int, str] | None = None) -> Detokenizer:
        """Create a detokenizer for one text.

        Special tokens are left out of it, except for those in `special`, which maps their ids to
        texts.
        """
        text: Detokenizer = (
            ByteDetokenizer(self._text_bytes)
            if self._byte_level
            else TextDetokenizer(self.decode, self._fallback_byte)
        )
        return SpecialTokenDetokenizer(text, special) if special else text

    def decode(self, ids: Sequence[int]) -> str:
        """Decode tokens to text, without special tokens."""
        # A clean-up of spaces would change text that was emitted before.
        return str(
            self._tokenizer.decode(
                list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )

    def token_bytes(self, id: int) -> bytes:
        """Return the bytes of one token; for a special token, those of its name."""
        if id in self._added:
            return self._added[id].encode()
        piece = str(self._tokenizer.convert_ids_to_tokens(id))
        if self._byte_level:
            return bytes(BYTE_DECODER[letter] for letter in piece)
        if BYTE_TOKEN.fullmatch(piece):
            return bytes([int(piece[3:5], 16)])
        return piece.replace(SPACE_MARK, " ").encode()

    def text_bytes(self, id: int) -> bytes:
        """Return the bytes that one token adds to a text; none for a special token."""
        if self._byte_level:
            return self._text_bytes(id)
        byte = self._fallback_byte(id)
        if byte is not None:
            return byte
        piece = self._added.get(id, self._piece(id).replace(SPACE_MARK, " "))
        return piece.encode()

    def encode_exactly(self, text: str) -> list[int] | None:
        """Tokenize a piece of text; None if the tokens would add other bytes than the text's.

        A tokenizer may put a space in front of a text, unless a line break is before it, and reads
        names of special tokens in it.
        """
        line_break = self._encode("\n")
        for before in ([], line_break):
            ids = self._encode("\n" * bool(before) + text)
            following = ids[len(before) :]
            if ids[: len(before)] == before and self._spells(following, text):
                return following
        return None

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.backend_tokenizer.encode(
            text, add_special_tokens=False
        ).ids
        return ids

    def _spells(self, ids: Sequence[int], text: str) -> bool:
        return b"".join(map(self.text_bytes, ids)) == text.encode()

    def _text_bytes(self, id: int) -> bytes:
        """The bytes of one token in a text, as a byte-level decoder computes them."""
        if id in self._special_ids:
            return b""
        piece = self._piece(id)
        try:
            return bytes(BYTE_DECODER[letter] for letter in piece)
        except KeyError:
            return piece.encode()

    def _fallback_byte(self, id: int) -> bytes | None:
        """The byte that a token of a byte-fallback decoder stands for; b"" if it is special."""
        if id in self._special_ids:
            return b""
        piece = self._piece(id)
        is_byte = self._byte_fallback and BYTE_TOKEN.fullmatch(piece)
        return bytes([int(piece[3:5], 16)]) if is_byte else None

    def _piece(self, id: int) -> str:
        """The token as the vocabulary spells it; "" if a model has more logits than tokens."""
        return str(self._tokenizer.convert_ids_to_tokens(id) or "")
