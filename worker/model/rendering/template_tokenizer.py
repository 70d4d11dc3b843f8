"""Tokenizes chat templates' output safely: special tokens in users' texts stay plain text."""

import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from functools import partial
from typing import Any, Self

import numpy as np
from tokenizers import Encoding
from transformers import PreTrainedTokenizerBase

from worker.model.rendering.errors import TOO_DEEP, RenderingError
from worker.model.rendering.segments import EncodedText, TokenCache, has_independent_segments, join
from worker.model.rendering.token_bytes import max_token_bytes
from worker.model.special_tokens import read_pipeline, rename_special_tokens

# Tokens before a cut of the text that the cut may change.
CUT_MARGIN_TOKENS = 128
# As deep as the bodies of requests may be; the arguments of a call are JSON of their own.
MAX_DEPTH = 100


class TemplateTokenizer:
    """Encodes rendered templates; a special token counts as one only if the template wrote it.

    Users' texts pass through `escape` before they are rendered and the result through `mark`, which
    gives the template's special tokens random names. Forged turns (prompt injection by special
    tokens such as `<|im_end|>`) are impossible, and a marked text can be searched for turns.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        state = read_pipeline(tokenizer)
        self._max_token_bytes = max_token_bytes(state)
        renamed = rename_special_tokens(state)
        self._backend, self._aliases, self._ids = renamed.backend, renamed.aliases, renamed.ids
        self.alias_pattern = renamed.pattern
        # Longest first: a pattern's alternatives are tried in order.
        self._names = sorted(self._aliases, key=len, reverse=True)
        self._numbers = {name: number for number, name in enumerate(self._names)}
        self._pattern = re.compile("|".join(map(re.escape, self._names)) or r"(?!)")
        # Placeholder for special tokens in users' texts while the template is rendered. It has only
        # letters and digits, so that no template trims, escapes or splits it, and is random, so
        # that no text contains it by chance or intent.
        self._placeholder = f"cover{secrets.token_hex(8)}x"
        self._placeholder_pattern = re.compile(rf"{self._placeholder}(\d+)x")
        self._has_segments = has_independent_segments(tokenizer)
        self._special = {alias: _encode_special(id) for alias, id in self._ids.items()}
        self._cache: TokenCache | None = None
        self._anchor = self._find_anchor(tokenizer)

    def escape(self, value: Any, *, depth: int = 0) -> Any:
        """Replace each special token in the strings of `value` with a placeholder.

        Raises RenderingError if `value` is nested deeper than MAX_DEPTH.
        """
        if isinstance(value, str):
            return self._pattern.sub(lambda m: f"{self._placeholder}{self._numbers[m[0]]}x", value)
        if not isinstance(value, (Mapping, Sequence)):
            return value
        if depth == MAX_DEPTH:
            # Rather than where Python's recursion ends, which differs between its versions.
            raise RenderingError(TOO_DEEP)
        escape = partial(self.escape, depth=depth + 1)
        if isinstance(value, Mapping):
            return {escape(key): escape(item) for key, item in value.items()}
        return [escape(item) for item in value]

    def mark(self, text: str) -> str:
        """Give the template's special tokens their aliases, and users' texts their own again."""
        marked = self._pattern.sub(lambda m: self._aliases[m[0]], text)
        return self._placeholder_pattern.sub(lambda m: self._names[int(m[1])], marked)

    def with_cache(self) -> Self:
        """Copy this tokenizer; the copy remembers the segments that it has tokenized."""
        other = copy(self)
        other._cache = TokenCache()
        return other

    @property
    def has_cache(self) -> bool:
        return self._cache is not None

    def encode(self, marked: str) -> list[int]:
        """Encode a marked text."""
        ids: list[int] = self.encode_with_positions(marked).ids.tolist()
        return ids

    def encode_continuation(self, marked: str) -> list[int]:
        """Encode a text that follows another, without the space that some add to a beginning."""
        return self.encode(self._anchor + marked)[bool(self._anchor) :]

    def encode_with_positions(self, marked: str) -> EncodedText:
        """Encode a marked text, with the position of each token."""
        if not self._has_segments:
            return self._tokenize([marked])[0]
        positions, pieces = self._find_pieces(marked)
        found = ((piece, self._find_known(piece)) for piece in dict.fromkeys(pieces))
        known = {piece: tokens for piece, tokens in found if tokens is not None}
        unknown = [piece for piece in dict.fromkeys(pieces) if piece not in known]
        for piece, encoded in zip(unknown, self._tokenize(unknown), strict=True):
            known[piece] = encoded
            if self._cache is not None:
                self._cache.put(piece, encoded)
        return join([known[piece] for piece in pieces], positions)

    def _find_pieces(self, marked: str) -> tuple[list[int], list[str]]:
        """Split into special tokens and the segments between them, with the position of each."""
        positions: list[int] = []
        pieces: list[str] = []
        position = 0
        for match in self.alias_pattern.finditer(marked):
            if match.start() > position:
                positions.append(position)
                pieces.append(marked[position : match.start()])
            positions.append(match.start())
            pieces.append(match[0])
            position = match.end()
        if position < len(marked):
            positions.append(position)
            pieces.append(marked[position:])
        return positions, pieces

    def _find_known(self, piece: str) -> EncodedText | None:
        special = self._special.get(piece)
        return self._cache.get(piece) if special is None and self._cache is not None else special

    def _tokenize(self, texts: Sequence[str]) -> list[EncodedText]:
        # As a batch, even of one: `encode` would hold the GIL until it is done, and block every
        # other thread of an engine for half a second per megabyte.
        encodings = self._backend.encode_batch(list(texts), add_special_tokens=False)
        return [_read_encoding(encoding) for encoding in encodings]

    def head(self, marked: str, tokens: int) -> str:
        """Return a beginning of the text that has the same first `tokens` tokens."""
        if self._max_token_bytes is None:
            return marked
        longest = max(self._max_token_bytes, *map(len, self._ids), 1)
        return marked[: longest * (tokens + CUT_MARGIN_TOKENS)]

    def min_token_count(self, marked: str) -> int:
        """Compute a lower bound of the number of ids that `encode` returns, much faster."""
        return sum(
            self.min_plain_token_count(plain) + is_followed_by_special
            for plain, is_followed_by_special in self._split(marked)
        )

    def min_plain_token_count(self, text: str) -> int:
        """Compute a lower bound of the tokens of a plain text; 0 if none is known."""
        if self._max_token_bytes is None:
            return 0
        return -(-len(text.encode(errors="replace")) // self._max_token_bytes)

    def special_ids(self, marked: str) -> list[int]:
        """List the ids of the template's special tokens in a marked text."""
        return [self._ids[alias] for alias in self.alias_pattern.findall(marked)]

    def id_of(self, alias: str) -> int:
        return self._ids[alias]

    def alias_of(self, id: int) -> str | None:
        return next((alias for alias, alias_id in self._ids.items() if alias_id == id), None)

    def _find_anchor(self, tokenizer: PreTrainedTokenizerBase) -> str:
        """Find a special token that leaves the white space after it alone."""
        added = tokenizer.added_tokens_decoder.values()
        names = (t.content for t in added if t.special and not t.rstrip)
        return next((self._aliases[name] for name in names if name in self._aliases), "")

    def _split(self, marked: str) -> Iterator[tuple[str, bool]]:
        """Split into plain texts, each with "a special token follows it"."""
        position = 0
        for match in self.alias_pattern.finditer(marked):
            yield marked[position : match.start()], True
            position = match.end()
        yield marked[position:], False


def _encode_special(id: int) -> EncodedText:
    return EncodedText(np.array([id], dtype=np.int32), np.zeros(1, dtype=np.int64))


def _read_encoding(encoding: Encoding) -> EncodedText:
    offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
    # A normalizer may put parts of one character into another order.
    starts = np.maximum.accumulate(offsets[:, 0])
    return EncodedText(np.array(encoding.ids, dtype=np.int32), starts)
