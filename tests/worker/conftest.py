"""Models small enough to create, train and serve within a test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import ByteLevel, Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from app.catalog import CatalogModel, ModelKind
from tests.native_kernels import compile_kernels
from worker.inference.native import build

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
# Two newlines are one token, so that a token can span a header and its content; Ċ is a newline.
MERGES = [("Ċ", "Ċ"), ("h", "e"), ("l", "l"), ("he", "ll")]
# The vocabulary of tiny encoders.
PAD = 1
SPECIAL_IDS = {"[CLS]": 0, "[PAD]": PAD, "[SEP]": 2, "[UNK]": 3}
WORDS = [f"w{number}" for number in range(60)]
TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe brief.<|im_end|>\n{% endif %}"
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE with four merges, ChatML's special tokens and a ChatML-like template."""
    tokens = [*SPECIAL_TOKENS, *sorted(ByteLevel.alphabet()), *("".join(pair) for pair in MERGES)]
    tokenizer = Tokenizer(BPE({token: id for id, token in enumerate(tokens)}, MERGES))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=TEMPLATE,
    )


def words_tokenizer(*, token_types: bool) -> PreTrainedTokenizerFast:
    """A word-level tokenizer with BERT's special tokens, with or without token type ids."""
    tokenizer = Tokenizer(
        WordLevel(
            {**SPECIAL_IDS, **{word: 4 + n for n, word in enumerate(WORDS)}}, unk_token="[UNK]"
        )
    )
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 0), ("[SEP]", 2)],
    )
    names = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        model_max_length=64,
        model_input_names=names if token_types else ["input_ids", "attention_mask"],
    )


def make_texts(*lengths: int) -> list[str]:
    """Make texts of the given numbers of words, all different."""
    return [
        " ".join(WORDS[(7 * place + length) % 60] for place in range(length)) for length in lengths
    ]


def tiny_config() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=263,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=2,
    )


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Matrices this small gain nothing from more threads, and lose much on shared cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def kernels_folder() -> Iterator[Path]:
    """The folder of compiled native kernels, which whatever runs in this process uses."""
    folder = compile_kernels()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(build, "PREBUILT", folder)
        yield folder


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return tiny_tokenizer()


@pytest.fixture(scope="session")
def tiny_folder(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast
) -> Path:
    """A Llama with random weights and its tokenizer, in Hugging Face's layout."""
    folder = tmp_path_factory.mktemp("tiny-model")
    torch.manual_seed(0)
    LlamaForCausalLM(tiny_config()).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny_folder: Path) -> CatalogModel:
    """The same as a catalog entry."""
    return CatalogModel(
        id="tiny",
        source=f"path:{tiny_folder}",
        kind=ModelKind.CAUSAL,
        methods=("supervised", "dpo"),
        context_length=512,
    )
