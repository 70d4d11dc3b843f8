"""Tokenizers that keep the characters of scripts without spaces apart.

Subword vocabularies of such scripts have pieces of several characters, and an entity may begin in
the middle of one.
"""

import copy
import json
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from app.formats.word_boundaries import UNSPACED_SCRIPTS

# A character with the marks on it, as a pattern of the tokenizers library.
CHARACTER = f"[{UNSPACED_SCRIPTS}][\\p{{M}}\u200c\u200d]*"
SPLIT = {
    "type": "Split",
    "pattern": {"Regex": CHARACTER},
    "behavior": "Isolated",
    "invert": False,
}


def split_unspaced_scripts(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Copy a tokenizer so that no piece spans two characters of a script without spaces."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["pre_tokenizer"] = _add_split(state["pre_tokenizer"])
    separate = copy.deepcopy(tokenizer)
    separate._tokenizer = Tokenizer.from_str(json.dumps(state))
    return separate


def _add_split(pre_tokenizer: dict[str, Any] | None) -> dict[str, Any]:
    """Split first where bytes replace the characters, and else last, since splitting at spaces
    may add a prefix to each part."""
    if pre_tokenizer is None:
        return SPLIT
    steps = [pre_tokenizer]
    if pre_tokenizer["type"] == "Sequence":
        steps = pre_tokenizer["pretokenizers"]
    is_bytes = any(step["type"] == "ByteLevel" for step in steps)
    return {"type": "Sequence", "pretokenizers": [SPLIT, *steps] if is_bytes else [*steps, SPLIT]}
