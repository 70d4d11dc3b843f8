"""Name of a model in a GGUF file: llama.cpp decides by it what special tokens do to white space.

GGUF has no field for that. Where a name contains "phi-3" or "phi3", llama.cpp drops white space
after all special tokens but three, and does not load a file whose vocabulary lacks one of four.
"""

import re

from transformers import PreTrainedTokenizerBase

PHI3 = re.compile("phi-?3", re.IGNORECASE)
KEEPING = frozenset({"<unk>", "<s>", "<|endoftext|>"})
STRIPPING = "</s>"


def choose_name(name: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """Make the name one of a Phi-3 if and only if the special tokens are as Phi-3's."""
    if has_phi3_tokens(tokenizer):
        return name if PHI3.search(name) else f"{name} phi-3"
    return PHI3.sub("phi 3", name)


def has_phi3_tokens(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Check that the tokens that llama.cpp looks for exist, and strip or keep white space as it."""
    added = tokenizer.added_tokens_decoder.values()
    names = {token.content for token in added}
    strips = {token.content for token in added if token.rstrip}
    return names >= KEEPING and STRIPPING in strips and not strips & KEEPING
