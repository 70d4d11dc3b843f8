"""Incremental detokenization: incomplete characters are held back.

The work per token is constant. Decoding the pending ids anew with each token, until they end in a
complete character, is quadratic if they never do.
"""

import codecs
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

Decode = Callable[[Sequence[int]], str]

# Ids before a token that it is decoded with: a decoder may treat the start of a text differently,
# and a token may be empty.
CONTEXT_TOKENS = 4


class Detokenizer(Protocol):
    """Decodes ids incrementally; the deltas joined equal the decoding of all ids."""

    def push(self, id: int, /) -> str:
        """Add a token and return the text that is final; "" inside of a character."""
        ...

    def flush(self) -> str:
        """Return the text held back; an incomplete character becomes U+FFFD."""
        ...


class ByteDetokenizer:
    """For tokenizers whose tokens are bytes, such as those of GPT-2's kind (byte-level BPE)."""

    def __init__(self, to_bytes: Callable[[int], bytes]) -> None:
        self._to_bytes = to_bytes
        self._utf8 = _Utf8Decoder()

    def push(self, id: int) -> str:
        return self._utf8.decode(self._to_bytes(id))

    def flush(self) -> str:
        return self._utf8.flush()


class TextDetokenizer:
    """For tokenizers whose tokens are text, and perhaps single bytes (byte fallback).

    `to_byte` returns the byte that a token stands for; None for text, b"" for a special token. A
    decoder of whole texts replaces each byte of a run that is not valid as a whole; here, its
    complete characters were emitted.
    """

    def __init__(self, decode: Decode, to_byte: Callable[[int], bytes | None]) -> None:
        self._decode = decode
        self._to_byte = to_byte
        self._utf8 = _Utf8Decoder()
        self._context: deque[int] = deque(maxlen=CONTEXT_TOKENS)

    def push(self, id: int) -> str:
        byte = self._to_byte(id)
        if byte == b"":
            return ""
        # Some decoders drop a space at the start of a text, also one that is a byte.
        if byte is None or (byte == b" " and not self._context):
            text = self.flush() + self._decode_next(id)
        else:
            text = self._utf8.decode(byte)
        self._context.append(id)
        return text

    def flush(self) -> str:
        return self._utf8.flush()

    def _decode_next(self, id: int) -> str:
        before = self._decode([*self._context])
        return self._decode([*self._context, id])[len(before) :]


class SpecialTokenDetokenizer:
    """Writes texts for some special tokens into the text of the others."""

    def __init__(self, detokenizer: Detokenizer, special: Mapping[int, str]) -> None:
        self._detokenizer = detokenizer
        self._special = special

    def push(self, id: int) -> str:
        special = self._special.get(id)
        if special is None:
            return self._detokenizer.push(id)
        return self._detokenizer.flush() + special

    def flush(self) -> str:
        return self._detokenizer.flush()


class _Utf8Decoder:
    """Decodes bytes incrementally, and holds back text until it ends with a complete character.

    What is invalid is replaced by the rule of the Unicode standard, as the tokenizers do.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held: list[str] = []

    def decode(self, data: bytes) -> str:
        self._held.append(self._decoder.decode(data))
        incomplete, _ = self._decoder.getstate()
        return "" if incomplete else self._release()

    def flush(self) -> str:
        self._held.append(self._decoder.decode(b"", final=True))
        return self._release()

    def _release(self) -> str:
        text = "".join(self._held)
        self._held.clear()
        return text
