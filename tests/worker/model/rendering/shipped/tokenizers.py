"""Tokenizers for the families' templates: small ones with the families' special tokens."""

from importlib.metadata import distribution
from pathlib import Path

from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from tests.worker.model.rendering.shipped.families import Family

# Two newlines are one token, so that tokens can span a header and its content.
MERGES = [("Ċ", "Ċ"), ("Ġ", "t"), ("h", "e"), ("Ġt", "he")]


def read_template(name: str) -> str:
    """Read a template that the `trl` wheel has; the package itself is not imported."""
    path = distribution("trl").locate_file(f"trl/chat_templates/{name}.jinja")
    return Path(str(path)).read_text(encoding="utf-8")


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
