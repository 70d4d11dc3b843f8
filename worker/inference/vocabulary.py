"""The vocabulary: bytes of single tokens, and text of token sequences."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase


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
        self._added = {id: str(t) for id, t in tokenizer.added_tokens_decoder.items()}
        self._byte_level = "ByteLevel" in repr(tokenizer.backend_tokenizer.decoder)

    @property
    def size(self) -> int:
        return len(self._tokenizer)

    def decode(self, ids: Sequence[int]) -> str:
        """Decode tokens to text, without special tokens."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def token_bytes(self, id: int) -> bytes:
        """Return the bytes of one token; for a special token, those of its name."""
        if id in self._added:
            return self._added[id].encode()
        piece = str(self._tokenizer.convert_ids_to_tokens(id))
        if self._byte_level:
            return bytes(BYTE_DECODER[letter] for letter in piece)
        if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
            return bytes([int(piece[3:5], 16)])
        return piece.replace("\N{LOWER ONE EIGHTH BLOCK}", " ").encode()
