"""Special tokens told apart from users' texts, and how few tokens a text can have."""

import copy
import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

# Steps before the merging of bytes that neither drop a byte nor make one of several. (NFC does:
# see COMPOSED.)
NON_SHRINKING_STEPS = frozenset({"ByteLevel", "Digits", "Metaspace", "NFC", "Prepend", "Split"})
# Bytes that NFC makes one of, at most: the three of KELVIN SIGN become a K.
MAX_NFC_SHRINKAGE = 3


class TemplateTokenizer:
    """Tells special tokens that a template wrote from those in users' texts, and encodes both."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        added = tokenizer.added_tokens_decoder.items()
        self._ids = {token.content: id for id, token in added if token.special}
        # The longest first, as the alternatives of a pattern are tried in order.
        self._names = sorted(self._ids, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, self._names)) or r"(?!)")
        # Stands for special tokens in users' texts while the template is at work. Letters and
        # digits only, so that no template trims, escapes or splits it; random, so that no text
        # holds it by chance or intent.
        self._cover = f"cover{secrets.token_hex(8)}x"
        self._covered = re.compile(rf"{self._cover}(\d+)x")
        # A copy that takes no special token for one.
        self._plain = copy.deepcopy(tokenizer.backend_tokenizer)
        self._plain.encode_special_tokens = True
        self._plain.no_truncation()
        self._plain.no_padding()
        self._max_token_bytes = max_token_bytes(tokenizer)

    def escape(self, value: Any) -> Any:
        """`value` with each special token in its strings replaced by what stands for it."""
        if isinstance(value, str):
            return self._pattern.sub(lambda m: f"{self._cover}{self._names.index(m[0])}x", value)
        if isinstance(value, Mapping):
            return {self.escape(key): self.escape(item) for key, item in value.items()}
        if isinstance(value, Sequence):
            return [self.escape(item) for item in value]
        return value

    def encode(self, text: str) -> list[int]:
        """Ids of a template's text with covered users' texts in it."""
        ids: list[int] = []
        for plain, special in self._split(text):
            ids += self._encode_plain(plain)
            ids += [] if special is None else [special]
        return ids

    def min_token_count(self, text: str) -> int:
        """How many ids `encode` gives at least, found in a fraction of its time."""
        return sum(
            self.min_plain_token_count(plain) + (special is not None)
            for plain, special in self._split(text)
        )

    def min_plain_token_count(self, text: str) -> int:
        """The same of a text that no template wrote."""
        if self._max_token_bytes is None:
            return 0
        return -(-len(text.encode(errors="replace")) // self._max_token_bytes)

    def first_special_id(self, text: str) -> int | None:
        match = self._pattern.search(text)
        return None if match is None else self._ids[match.group()]

    def end_of_last_special(self, text: str, start: int) -> int:
        """Behind the last special token: a newline after it is the template's, not the model's."""
        ends = [match.end() for match in self._pattern.finditer(text, start)]
        return ends[-1] if ends else len(text)

    def _split(self, text: str) -> Iterator[tuple[str, int | None]]:
        """Plain texts, uncovered, and the special token behind each."""
        position = 0
        for match in self._pattern.finditer(text):
            yield self._unescape(text[position : match.start()]), self._ids[match.group()]
            position = match.end()
        yield self._unescape(text[position:]), None

    def _unescape(self, text: str) -> str:
        return self._covered.sub(lambda m: self._names[int(m[1])], text)

    def _encode_plain(self, text: str) -> list[int]:
        if not text:
            return []
        # As a batch of one: `encode` holds Python's lock until it is done, and with it every other
        # thread of an engine, for half a second per megabyte.
        (found,) = self._plain.encode_batch_fast([text], add_special_tokens=False)
        return list(found.ids)


def max_token_bytes(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The most bytes of a text that one token can stand for.

    None if there is no bound, as where any word that is not known becomes one token.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    steps = [*_pipeline_steps(state["normalizer"]), *_pipeline_steps(state["pre_tokenizer"])]
    bytewise = any(step["type"] == "ByteLevel" for step in steps)
    model, added = state["model"], state["added_tokens"]
    if model["type"] != "BPE" or not (bytewise or model["byte_fallback"]):
        return None
    if not all(map(_is_non_shrinking, steps)) or any(
        each["lstrip"] or each["rstrip"] for each in added
    ):
        return None
    # Where letters stand for bytes, there is one for each.
    pieces = (len(piece) if bytewise else len(piece.encode()) for piece in model["vocab"])
    most = max([*pieces, *(len(each["content"].encode()) for each in added)])
    return most * MAX_NFC_SHRINKAGE if any(step["type"] == "NFC" for step in steps) else most


def _pipeline_steps(node: Any) -> Iterator[dict[str, Any]]:
    """A normalizer's or pre-tokenizer's steps, in whatever sequences they are."""
    if node is None:
        return
    inner = node.get("normalizers", node.get("pretokenizers"))
    if inner is None:
        yield node
    for each in inner or ():
        yield from _pipeline_steps(each)


def _is_non_shrinking(step: Mapping[str, Any]) -> bool:
    if step["type"] == "Replace":
        replaced = step["pattern"].get("String")
        return replaced is not None and len(replaced.encode()) <= len(step["content"].encode())
    return step["type"] in NON_SHRINKING_STEPS and step.get("behavior") != "Removed"
