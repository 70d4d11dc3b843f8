"""Tokenizer and chat template in a GGUF file: byte-level BPE, and BPE as SentencePiece's."""

import json
import re
from typing import Any

import gguf
from transformers import PreTrainedTokenizerBase

from worker.exporting.errors import UnsupportedExport

BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")
NUM_BYTES = 256
# The regular expressions that split text before BPE, and llama.cpp's names for them.
LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PATTERNS = {
    LLAMA3_PATTERN: "llama-bpe",
    LLAMA3_PATTERN.replace("{1,3}", ""): "qwen2",
}


def add_vocabulary(
    writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerBase, vocab_size: int
) -> None:
    """Write tokens, merges, special tokens and the chat template. Raises UnsupportedExport."""
    backend: Any = tokenizer.backend_tokenizer
    document: dict[str, Any] = json.loads(backend.to_str())
    if document["model"]["type"] != "BPE":
        raise UnsupportedExport(
            f"The tokenizer is a {document['model']['type']}; GGUF files are written with BPE only."
        )
    tokens, types = _list_tokens(document, vocab_size)
    pre_tokenizers = _flatten(document["pre_tokenizer"])
    if any(part["type"] == "ByteLevel" for part in pre_tokenizers):
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(_name_pre_tokenizer(pre_tokenizers))
        writer.add_token_merges([" ".join(pair) for pair in _list_merges(document)])
    else:
        _check_bytes(types)
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_scores(_score_by_merges(document, tokens))
        writer.add_add_space_prefix(_adds_prefix(document, pre_tokenizers))
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    _add_special_tokens(writer, tokenizer)


def _list_tokens(document: dict[str, Any], vocab_size: int) -> tuple[list[str], list[int]]:
    """List the tokens by id, and their types; ids without a token are unused."""
    tokens = [f"[PAD{index}]" for index in range(vocab_size)]
    types = [int(gguf.TokenType.UNUSED)] * vocab_size
    unknown = document["model"].get("unk_token")
    for token, index in document["model"]["vocab"].items():
        tokens[index] = token
        types[index] = gguf.TokenType.BYTE if BYTE_TOKEN.fullmatch(token) else gguf.TokenType.NORMAL
        if token == unknown:
            types[index] = gguf.TokenType.UNKNOWN
    for added in document["added_tokens"]:
        index = added["id"]
        if index < vocab_size and types[index] != gguf.TokenType.UNKNOWN:
            tokens[index] = added["content"]
            types[index] = (
                gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
            )
    return tokens, [int(kind) for kind in types]


def _check_bytes(types: list[int]) -> None:
    """Raise UnsupportedExport unless each byte has a token: llama.cpp fails without it."""
    if types.count(gguf.TokenType.BYTE) < NUM_BYTES:
        raise UnsupportedExport(
            "The tokenizer has no token for each byte (<0x00> to <0xFF>), and llama.cpp cannot "
            "read texts without them. Export the model as merged."
        )


def _flatten(part: dict[str, Any] | None) -> list[dict[str, Any]]:
    if part is None:
        return []
    if part["type"] == "Sequence":
        members: list[dict[str, Any]] = part.get("pretokenizers") or part.get("normalizers") or []
        return members
    return [part]


def _name_pre_tokenizer(parts: list[dict[str, Any]]) -> str:
    """Find llama.cpp's name of a splitting. Raises UnsupportedExport if it has none."""
    byte_level = next(part for part in parts if part["type"] == "ByteLevel")
    others = [part for part in parts if part["type"] != "ByteLevel"]
    if not others and byte_level["use_regex"]:
        return "gpt-2"
    if len(others) == 1 and others[0]["type"] == "Digits" and others[0]["individual_digits"]:
        return "smollm"
    if len(others) == 1 and others[0]["type"] == "Split" and not byte_level["use_regex"]:
        name = PATTERNS.get(others[0]["pattern"].get("Regex", ""))
        if name is not None:
            return name
    raise UnsupportedExport(
        "The tokenizer splits text in a way that has no name in GGUF files written here. Export "
        "the model as merged, and convert that with llama.cpp's convert_hf_to_gguf.py."
    )


def _list_merges(document: dict[str, Any]) -> list[list[str]]:
    merges = document["model"]["merges"]
    return [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]


def _score_by_merges(document: dict[str, Any], tokens: list[str]) -> list[float]:
    """Score tokens as SentencePiece does: those that are merged first score highest."""
    ranks: dict[str, int] = {}
    for rank, pair in enumerate(_list_merges(document)):
        ranks.setdefault("".join(pair), rank)
    return [-float(ranks[token]) if token in ranks else -1e6 for token in tokens]


def _adds_prefix(document: dict[str, Any], pre_tokenizers: list[dict[str, Any]]) -> bool:
    prepends = [part for part in _flatten(document["normalizer"]) if part["type"] == "Prepend"]
    schemes = [part.get("prepend_scheme") for part in pre_tokenizers]
    return bool(prepends) or any(scheme in ("always", "first") for scheme in schemes)


def _add_special_tokens(writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerBase) -> None:
    for add, token_id in (
        (writer.add_bos_token_id, tokenizer.bos_token_id),
        (writer.add_eos_token_id, tokenizer.eos_token_id),
        (writer.add_unk_token_id, tokenizer.unk_token_id),
        (writer.add_pad_token_id, tokenizer.pad_token_id),
    ):
        if token_id is not None:
            add(token_id)
    first_id = tokenizer("a")["input_ids"][0]
    writer.add_add_bos_token(first_id == tokenizer.bos_token_id)
    writer.add_add_eos_token(False)
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)
