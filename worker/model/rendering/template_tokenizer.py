"""Tokenizes chat templates' output safely: special tokens in users' texts stay plain text."""

import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding
from transformers import PreTrainedTokenizerBase

from worker.model.rendering.token_bytes import max_token_bytes
from worker.model.special_tokens import rename_special_tokens

# Tokens before a cut of the text that the cut may change.
CUT_MARGIN_TOKENS = 128


@dataclass(frozen=True, slots=True, eq=False)
class EncodedText:
    """Token ids of a text, and the position of the character that each token begins with."""

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]

    def token_at(self, position: int) -> int:
        """Find the first token that begins at or after a character's position."""
        return int(np.searchsorted(self.starts, position, side="left"))


class TemplateTokenizer:
    """Encodes rendered templates; a special token counts as one only if the template wrote it.

    Users' texts pass through `escape` before they are rendered and the result through `mark`, which
    gives the template's special tokens random names. Forged turns (prompt injection by special
    tokens such as `<|im_end|>`) are impossible, and a marked text can be searched for turns.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        renamed = rename_special_tokens(tokenizer)
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
        self._max_token_bytes = max_token_bytes(tokenizer)
        self._anchor = self._find_anchor(tokenizer)

    def escape(self, value: Any) -> Any:
        """Replace each special token in the strings of `value` with a placeholder."""
        if isinstance(value, str):
            return self._pattern.sub(lambda m: f"{self._placeholder}{self._numbers[m[0]]}x", value)
        if isinstance(value, Mapping):
            return {self.escape(key): self.escape(item) for key, item in value.items()}
        if isinstance(value, Sequence):
            return [self.escape(item) for item in value]
        return value

    def mark(self, text: str) -> str:
        """Give the template's special tokens their aliases, and users' texts their own again."""
        marked = self._pattern.sub(lambda m: self._aliases[m[0]], text)
        return self._placeholder_pattern.sub(lambda m: self._names[int(m[1])], marked)

    def encode(self, marked: str) -> list[int]:
        """Encode a marked text."""
        # As a batch of one: `encode` would hold the GIL until it is done, and block every other
        # thread of an engine for half a second per megabyte.
        (encoding,) = self._backend.encode_batch_fast([marked], add_special_tokens=False)
        return list(encoding.ids)

    def encode_continuation(self, marked: str) -> list[int]:
        """Encode a text that follows another, without the space that some add to a beginning."""
        return self.encode(self._anchor + marked)[bool(self._anchor) :]

    def encode_with_positions(self, marked: str) -> EncodedText:
        """Encode a marked text, with the position of each token."""
        encoding: Encoding
        (encoding,) = self._backend.encode_batch([marked], add_special_tokens=False)
        starts = np.array([start for start, _ in encoding.offsets], dtype=np.int64)
        # A normalizer may put parts of one character into another order.
        starts = np.maximum.accumulate(starts) if len(starts) else starts
        return EncodedText(np.array(encoding.ids, dtype=np.int32), starts)

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
