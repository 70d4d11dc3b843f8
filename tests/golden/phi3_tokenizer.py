"""A small tokenizer of Phi-3's kind."""

from typing import Any

from tokenizers import AddedToken, decoders
from transformers import Phi3Config, PreTrainedModel, PreTrainedTokenizerFast

from tests.worker.model.rendering.shipped.tokenizers import read_template
from tests.worker.model.rendering.shipped.trained import SPACE, train_with_normalizer

# Those of Phi-3 that keep the white space after them, and those that drop it.
KEEPING = ("<unk>", "<s>", "<|endoftext|>")
STRIPPING = ("</s>", "<|assistant|>", "<|end|>", "<|system|>", "<|user|>")


def phi3_tokenizer() -> PreTrainedTokenizerFast:
    """SentencePiece's BPE with a token for each byte, and Phi-3's special tokens and template."""
    tokenizer = train_with_normalizer()
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(SPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens(
        [
            AddedToken(name, special=True, normalized=False, rstrip=name in STRIPPING)
            for name in (*KEEPING, *STRIPPING)
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        unk_token="<unk>",
        chat_template=read_template("phi3"),
    )


def phi3_config(**sizes: Any) -> Phi3Config:
    """Make a config with the tokenizer's ids."""
    tokenizer = phi3_tokenizer()
    ids = {
        f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")
    }
    return Phi3Config(**{**sizes, **ids, "vocab_size": len(tokenizer)})


def silence_bytes(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Keep a random model from writing bytes that are no text: libraries show them differently."""
    head: Any = model.get_output_embeddings()
    names = [f"<0x{byte:02X}>" for byte in (*range(32), *range(127, 256))]
    head.weight.data[tokenizer.convert_tokens_to_ids(names)] = 0
