"""Upper bound of the text that one token can represent, from a tokenizer's pipeline."""

from collections.abc import Iterator, Mapping
from typing import Any

# Normalizers and pre-tokenizers that never shorten a text in bytes, except NFC (see below).
NON_SHRINKING_STEPS = frozenset({"ByteLevel", "Digits", "Metaspace", "NFC", "Prepend", "Split"})
# NFC shortens a text at most by this factor: KELVIN SIGN (three bytes) becomes "K".
MAX_NFC_SHRINKAGE = 3


def max_token_bytes(state: Mapping[str, Any]) -> int | None:
    """Compute the maximum bytes of text that one token can represent.

    `state` is of `read_pipeline`. None if there is no bound, for example if an unknown word of any
    length becomes one token.
    """
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
