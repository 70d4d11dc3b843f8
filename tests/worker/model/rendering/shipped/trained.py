"""Small tokenizers of every kind, trained on a few sentences."""

import json
from collections.abc import Callable, Mapping
from functools import partial

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE, Unigram
from tokenizers.trainers import BpeTrainer, UnigramTrainer

TEXTS = [
    "Hello there. Be brief, and answer in one line.",
    "What is the weather in Rome today? It rains in Rome.",
    "user assistant system model tool\n\n",
    "One. Two. Three. Four words are more than three words.",
] * 5
SCHEMES = ("always", "first", "never")
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
TRAINED = "<s>", "</s>", "<unk>"


def train_byte_level(*, add_prefix_space: bool) -> Tokenizer:
    """GPT-2's kind, as Llama 3 and Qwen have it."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(
        vocab_size=400,
        initial_alphabet=sorted(alphabet),
        special_tokens=list(TRAINED),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def train_metaspace(scheme: str, *, unigram: bool) -> Tokenizer:
    """SentencePiece's kinds, by the pre-tokenizer of new conversions."""
    tokenizer = Tokenizer(Unigram() if unigram else BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prepend_scheme=scheme)
    tokenizer.decoder = decoders.Metaspace(SPACE, prepend_scheme=scheme)
    return _train_pieces(tokenizer, unigram=unigram)


def train_with_normalizer() -> Tokenizer:
    """SentencePiece's BPE as older conversions of Llama 2 and Phi-3 have it."""
    tokenizer = Tokenizer(BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)]
    )
    tokenizer.decoder = decoders.Replace(SPACE, " ")
    return _train_pieces(tokenizer, unigram=False)


def _train_pieces(tokenizer: Tokenizer, *, unigram: bool) -> Tokenizer:
    special = list(TRAINED)
    trainer = (
        UnigramTrainer(
            vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False
        )
        if unigram
        else BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer if unigram else _with_bytes(tokenizer)


def _with_bytes(tokenizer: Tokenizer) -> Tokenizer:
    """Add the tokens of single bytes, which are no special tokens."""
    state = json.loads(tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    return Tokenizer.from_str(json.dumps(state))


KINDS: Mapping[str, Callable[[], Tokenizer]] = {
    "byte level": partial(train_byte_level, add_prefix_space=False),
    "byte level with a first space": partial(train_byte_level, add_prefix_space=True),
    **{
        f"{'unigram' if unigram else 'BPE'} pieces, {scheme}": partial(
            train_metaspace, scheme, unigram=unigram
        )
        for scheme in SCHEMES
        for unigram in (False, True)
    },
    "BPE pieces by a normalizer": train_with_normalizer,
}
# How special tokens take the text around them.
FLAGS: Mapping[str, Callable[[str], AddedToken]] = {
    "plain": lambda name: AddedToken(name, special=True, normalized=False),
    "lstrip": lambda name: AddedToken(name, special=True, normalized=False, lstrip=True),
    "rstrip": lambda name: AddedToken(name, special=True, normalized=False, rstrip=True),
    "normalized": lambda name: AddedToken(name, special=True, normalized=True),
}
