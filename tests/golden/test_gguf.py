"""GGUF files of each family: llama.cpp writes greedily what transformers writes.

Small random models with tuned adapters; tokens that are far apart, so that rounding changes none.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from app.catalog import CatalogModel, ModelKind
from tests.golden.phi3_tokenizer import phi3_config, phi3_tokenizer, silence_bytes
from tests.golden.test_exports import SIZES, decode_after
from tests.worker.conftest import tiny_tokenizer
from tests.worker.exporting.conftest import export, tune_causal
from worker.exporting.errors import UnsupportedExport
from worker.exporting.gguf_families import FAMILIES

pytestmark = [
    pytest.mark.golden,
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out:UserWarning"),
]
GPT2_SIZES = {"vocab_size": 263, "n_positions": 512, "n_embd": 32, "n_layer": 2, "n_head": 4}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "partial_rotary_factor": 0.75,
    "short_factor": [1.0, 1.25, 1.5],
    "long_factor": [1.0, 2.0, 4.0],
    "original_max_position_embeddings": 256,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
VARIANTS: dict[str, Callable[[], PretrainedConfig]] = {
    "llama": lambda: LlamaConfig(**SIZES, rope_parameters=LLAMA3),
    "mistral": lambda: MistralConfig(**SIZES, sliding_window=None),
    "qwen2": lambda: Qwen2Config(**SIZES),
    "qwen3": lambda: Qwen3Config(**SIZES, head_dim=16, tie_word_embeddings=True),
    # Seven layers: one that attends to all tokens. More tokens than the window.
    "gemma3_text": lambda: Gemma3TextConfig(
        **{**SIZES, "num_hidden_layers": 7},
        head_dim=16,
        sliding_window=12,
        query_pre_attn_scalar=24,
    ),
    "phi3": lambda: phi3_config(**SIZES),
    "phi3-bytelevel": lambda: Phi3Config(**SIZES),
    "phi3-longrope": lambda: Phi3Config(
        **SIZES, rope_parameters=LONGROPE, tie_word_embeddings=True
    ),
    "gpt2": lambda: GPT2Config(**GPT2_SIZES, bos_token_id=None, eos_token_id=2),
    "gpt2-wide": lambda: GPT2Config(
        **GPT2_SIZES, n_inner=80, bos_token_id=None, eos_token_id=2, tie_word_embeddings=False
    ),
}
PROMPTS = ("hello world, what is 12 + 34?", "what what what what what what what", "a", "34 + 12 = ")
NUM_TOKENS = 8


def make_base(folder: Path, config: PretrainedConfig) -> CatalogModel:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            # Larger than at initialization, so that no two tokens are equally likely.
            parameter.data *= 4
        elif "norm" in name or "ln_" in name or name.endswith("bias"):
            # Weights of norms and biases have an effect.
            parameter.data += torch.randn_like(parameter) * 0.2
    is_pieces = config.vocab_size != SIZES["vocab_size"]
    tokenizer = phi3_tokenizer() if is_pieces else tiny_tokenizer()
    if is_pieces:
        silence_bytes(model, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return CatalogModel(
        id="tiny",
        source=f"path:{folder}",
        kind=ModelKind.CAUSAL,
        methods=("supervised",),
        context_length=512,
    )


def load_llama_cpp(path: Path) -> Any:
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx, parameters.n_parallel, parameters.warmup = 256, 1, False
    return xllamacpp.Server(parameters)


def complete(path: Path) -> list[str]:
    server = load_llama_cpp(path)
    texts = []
    for prompt in PROMPTS:
        body = {"prompt": prompt, "max_tokens": NUM_TOKENS, "temperature": 0}
        answer: Any = server.handle_completions(body)
        texts.append(str(answer["choices"][0]["text"]))
    return texts


@torch.no_grad()
def generate(folder: Path) -> list[str]:
    """Write greedily with transformers, without a cache."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = []
    for prompt in PROMPTS:
        chosen = choose_tokens(model, tokenizer, tokenizer(prompt)["input_ids"])
        texts.append(decode_after(tokenizer, prompt, chosen))
    return texts


def choose_tokens(model: Any, tokenizer: Any, ids: list[int]) -> list[int]:
    chosen: list[int] = []
    while len(chosen) < NUM_TOKENS and tokenizer.eos_token_id not in chosen:
        logits = model(input_ids=torch.tensor([ids + chosen])).logits[0, -1]
        chosen.append(int(logits.argmax()))
    return chosen


@pytest.mark.parametrize("variant", VARIANTS)
def test_llama_cpp_writes_the_same_text(variant: str, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", VARIANTS[variant]())
    tune_causal(base, tmp_path / "adapter")
    expected = generate(export(base, tmp_path / "adapter", "merged", tmp_path / "whole"))
    folder = export(base, tmp_path / "adapter", "gguf", tmp_path / "gguf")
    assert complete(folder / "model.gguf") == expected
    assert all(expected)


@torch.no_grad()
@pytest.mark.parametrize("name", ["ft:tiny:acme::Abcd1234", "ft:phi3:acme::Abcd1234"])
def test_llama_cpp_reads_chats_of_phi3_as_transformers_does(name: str, tmp_path: Path) -> None:
    """llama.cpp decides by a model's name what its special tokens do to white space."""
    base = make_base(tmp_path / "base", VARIANTS["phi3"]())
    tune_causal(base, tmp_path / "adapter")
    whole = export(base, tmp_path / "adapter", "merged", tmp_path / "whole")
    model, tokenizer = (
        kind.from_pretrained(whole) for kind in (AutoModelForCausalLM, AutoTokenizer)
    )
    folder = export(base, tmp_path / "adapter", "gguf", tmp_path / "gguf", name=name)
    server = load_llama_cpp(folder / "model.gguf")
    for text in PROMPTS:
        messages = [{"role": "user", "content": text}]
        ids = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        answer: Any = server.handle_chat_completions(
            {"messages": messages, "max_tokens": NUM_TOKENS, "temperature": 0}
        )
        chosen = choose_tokens(model, tokenizer, ids)
        assert answer["usage"]["prompt_tokens"] == len(ids)
        written = str(tokenizer.decode(chosen, skip_special_tokens=True)).strip()
        assert answer["choices"][0]["message"]["content"].strip() == written


def test_a_name_of_another_kind_is_no_phi3s(tmp_path: Path) -> None:
    """By such a name, llama.cpp would not load a vocabulary without Phi-3's tokens."""
    base = make_base(tmp_path / "base", VARIANTS["qwen2"]())
    tune_causal(base, tmp_path / "adapter")
    name = "ft:tiny:acme:like-Phi-3:Abcd1234"
    folder = export(base, tmp_path / "adapter", "gguf", tmp_path / "gguf", name=name)
    assert len(complete(folder / "model.gguf")) == len(PROMPTS)


def test_every_family_is_here() -> None:
    assert {name.partition("-")[0] for name in VARIANTS} == FAMILIES.keys()


@pytest.mark.parametrize(
    "config",
    [
        lambda: Gemma3TextConfig(**SIZES, head_dim=16, layer_types=["full_attention"] * 2),
        lambda: GPT2Config(**GPT2_SIZES, scale_attn_by_inverse_layer_idx=True, eos_token_id=2),
        lambda: GPT2Config(**GPT2_SIZES, activation_function="relu", eos_token_id=2),
    ],
)
def test_what_llama_cpp_computes_otherwise_is_refused(
    config: Callable[[], PretrainedConfig], tmp_path: Path
) -> None:
    base = make_base(tmp_path / "base", config())
    tune_causal(base, tmp_path / "adapter")
    with pytest.raises(UnsupportedExport, match=r"Export (the model|it) as merged"):
        export(base, tmp_path / "adapter", "gguf", tmp_path / "gguf")
