"""Renames a tokenizer's special tokens, so that no text of a user can spell one."""

import copy
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class RenamedSpecialTokens:
    """A copy of a tokenizer in which each special token has a random alias and its usual id.

    To its `backend` the usual names are ordinary text: `encode_special_tokens` of the tokenizers
    library is not enough, since a unigram or word-level model finds them in its vocabulary.
    `aliases` maps usual names to aliases, `ids` maps aliases to token ids; `pattern` matches
    aliases.
    """

    backend: Tokenizer
    aliases: Mapping[str, str]
    ids: Mapping[str, int]
    pattern: re.Pattern[str]


def read_pipeline(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Read a tokenizer's pipeline as its file describes it, which takes some time."""
    pipeline: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    return pipeline


def rename_special_tokens(state: dict[str, Any]) -> RenamedSpecialTokens:
    """Make a tokenizer with random names for its special tokens; ids stay the same.

    `state` is of `read_pipeline`, and is changed.
    """
    secret = secrets.token_hex(8)
    special = [token for token in state["added_tokens"] if token["special"]]
    aliases = {token["content"]: f"<{secret}:{token['id']}>" for token in special}
    ids = {aliases[token["content"]]: token["id"] for token in special}
    for token in special:
        token["content"] = aliases[token["content"]]
    _rename_in_model(state["model"], aliases)
    state["truncation"] = state["padding"] = None
    backend = Tokenizer.from_str(json.dumps(state))
    return RenamedSpecialTokens(backend, aliases, ids, re.compile(rf"<{secret}:\d+>"))


def make_plain_tokenizer(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Copy a tokenizer so that it reads special tokens in texts as ordinary text.

    It still adds special tokens around texts. Other ids do not change.
    """
    plain = copy.deepcopy(tokenizer)
    plain._tokenizer = rename_special_tokens(read_pipeline(tokenizer)).backend
    return plain


def _rename_in_model(model: dict[str, Any], aliases: Mapping[str, str]) -> None:
    vocabulary = model["vocab"]
    if isinstance(vocabulary, list):
        model["vocab"] = [[aliases.get(piece, piece), score] for piece, score in vocabulary]
    else:
        model["vocab"] = {aliases.get(token, token): id for token, id in vocabulary.items()}
    if model.get("unk_token") is not None:
        model["unk_token"] = aliases.get(model["unk_token"], model["unk_token"])
    if model.get("merges"):
        model["merges"] = [merge for merge in model["merges"] if not _has_special(merge, aliases)]


def _has_special(merge: str | list[str], aliases: Mapping[str, str]) -> bool:
    """Check whether a BPE merge takes or makes a special token."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left in aliases or right in aliases or left + right in aliases
