"""Tokenizes chat templates' output safely: special tokens in users' texts stay plain text."""

import copy
import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

# Normalizers and pre-tokenizers that never shorten a text in bytes, except NFC (see below).
NON_SHRINKING_STEPS = frozenset({"ByteLevel", "Digits", "Metaspace", "NFC", "Prepend", "Split"})
# NFC shortens a text at most by this factor: KELVIN SIGN (three bytes) becomes "K".
MAX_NFC_SHRINKAGE = 3


class TemplateTokenizer:
    """Encodes rendered templates; a special token counts as one only if the template wrote it.

    Users' texts are passed through `escape` before they are rendered, which makes forged turns
    (prompt injection by special tokens such as `<|im_end|>`) impossible.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        added = tokenizer.added_tokens_decoder.items()
        self._ids = {token.content: id for id, token in added if token.special}
        # Longest first: a pattern's alternatives are tried in order.
        self._names = sorted(self._ids, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, self._names)) or r"(?!)")
        # Placeholder for special tokens in users' texts while the template is rendered. It has only
        # letters and digits, so that no template trims, escapes or splits it, and is random, so
        # that no text contains it by chance or intent.
        self._placeholder = f"cover{secrets.token_hex(8)}x"
        self._placeholder_pattern = re.compile(rf"{self._placeholder}(\d+)x")
        # A copy that encodes special tokens as plain text.
        self._plain = copy.deepcopy(tokenizer.backend_tokenizer)
        self._plain.encode_special_tokens = True
        self._plain.no_truncation()
        self._plain.no_padding()
        self._max_token_bytes = max_token_bytes(tokenizer)

    def escape(self, value: Any) -> Any:
        """Replace each special token in the strings of `value` with a placeholder."""
        if isinstance(value, str):
            return self._pattern.sub(
                lambda m: f"{self._placeholder}{self._names.index(m[0])}x", value
            )
        if isinstance(value, Mapping):
            return {self.escape(key): self.escape(item) for key, item in value.items()}
        if isinstance(value, Sequence):
            return [self.escape(item) for item in value]
        return value

    def encode(self, text: str) -> list[int]:
        """Encode a rendered template that contains escaped users' texts."""
        ids: list[int] = []
        for plain, special_id in self._split(text):
            ids += self._encode_plain(plain)
            ids += [] if special_id is None else [special_id]
        return ids

    def min_token_count(self, text: str) -> int:
        """Compute a lower bound of the number of ids that `encode` returns, much faster."""
        return sum(
            self.min_plain_token_count(plain) + (special_id is not None)
            for plain, special_id in self._split(text)
        )

    def min_plain_token_count(self, text: str) -> int:
        """Compute a lower bound of the tokens of a plain text; 0 if none is known."""
        if self._max_token_bytes is None:
            return 0
        return -(-len(text.encode(errors="replace")) // self._max_token_bytes)

    def first_special_id(self, text: str) -> int | None:
        match = self._pattern.search(text)
        return None if match is None else self._ids[match.group()]

    def end_of_last_special(self, text: str, start: int) -> int:
        """Find the position after the last special token; a newline after it is the template's."""
        ends = [match.end() for match in self._pattern.finditer(text, start)]
        return ends[-1] if ends else len(text)

    def _split(self, text: str) -> Iterator[tuple[str, int | None]]:
        """Split into unescaped plain texts, each with the special token that follows it."""
        position = 0
        for match in self._pattern.finditer(text):
            yield self._unescape(text[position : match.start()]), self._ids[match.group()]
            position = match.end()
        yield self._unescape(text[position:]), None

    def _unescape(self, text: str) -> str:
        return self._placeholder_pattern.sub(lambda m: self._names[int(m[1])], text)

    def _encode_plain(self, text: str) -> list[int]:
        if not text:
            return []
        # As a batch of one: `encode` would hold the GIL until it is done, and block every other
        # thread of an engine for half a second per megabyte.
        (encoding,) = self._plain.encode_batch_fast([text], add_special_tokens=False)
        return list(encoding.ids)


def max_token_bytes(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Compute the maximum bytes of text that one token can represent.

    None if there is no bound, for example if an unknown word of any length becomes one token.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    steps = [*_pipeline_steps(state["normalizer"]), *_pipeline_steps(state["pre_tokenizer"])]
    is_byte_level = any(step["type"] == "ByteLevel" for step in steps)
    model, added = state["model"], state["added_tokens"]
    if model["type"] != "BPE" or not (is_byte_level or model["byte_fallback"]):
        return None
    if not all(map(_is_non_shrinking, steps)) or any(
        token["lstrip"] or token["rstrip"] for token in added
    ):
        return None
    # A byte-level vocabulary spells each byte as one character.
    token_lengths = (
        len(token) if is_byte_level else len(token.encode()) for token in model["vocab"]
    )
    longest = max([*token_lengths, *(len(token["content"].encode()) for token in added)])
    return longest * MAX_NFC_SHRINKAGE if any(step["type"] == "NFC" for step in steps) else longest


def _pipeline_steps(node: Any) -> Iterator[dict[str, Any]]:
    """Yield the steps of a normalizer or pre-tokenizer, with nested sequences flattened."""
    if node is None:
        return
    children = node.get("normalizers", node.get("pretokenizers"))
    if children is None:
        yield node
    for token in children or ():
        yield from _pipeline_steps(token)


def _is_non_shrinking(step: Mapping[str, Any]) -> bool:
    if step["type"] == "Replace":
        replaced = step["pattern"].get("String")
        return replaced is not None and len(replaced.encode()) <= len(step["content"].encode())
    return step["type"] in NON_SHRINKING_STEPS and step.get("behavior") != "Removed"
