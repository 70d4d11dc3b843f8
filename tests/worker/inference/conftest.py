"""A tiny Llama in float32, for exact comparisons, and adapters that change its output."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from openai import OpenAI
from peft import PeftModel
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from app.c_compiler import list_c_compilers
from app.catalog import CatalogModel, ModelKind
from tests.worker.inference.running_engine import (
    EngineClient,
    make_greedy_chat,
    running_chat_engine,
)
from tests.worker.inference.tiny_model import load_tiny, make_adapter
from worker.inference.adapter_memory import AdapterFiles
from worker.inference.llama_decoder import LlamaDecoder
from worker.inference.native.library import Kernels, load_kernels
from worker.inference.vocabulary import Vocabulary

MakeAdapter = Callable[..., tuple[AdapterFiles, PeftModel]]


@pytest.fixture(scope="session")
def base_folder(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast
) -> Path:
    """A Llama with varied output: large random weights and an untied output layer.

    With tied weights a random model repeats its last token forever.
    """
    folder = tmp_path_factory.mktemp("base-model")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=263,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def base_model(base_folder: Path) -> CatalogModel:
    return CatalogModel(
        id="tiny",
        source=f"path:{base_folder}",
        kind=ModelKind.CAUSAL,
        methods=("supervised",),
        context_length=512,
    )


@pytest.fixture
def tiny(base_folder: Path) -> PreTrainedModel:
    return load_tiny(base_folder)


@pytest.fixture(scope="session")
def native_kernels(kernels_folder: Path) -> Kernels:
    """The native kernels in float32; skips without a compiler."""
    if not list_c_compilers():
        pytest.skip("no C compiler")
    kernels = load_kernels(kernels_folder, torch.float32)
    assert kernels is not None
    return kernels


@pytest.fixture(params=["torch", "native"])
def kernels(request: pytest.FixtureRequest) -> Kernels | None:
    """Both ways to compute a decoding step."""
    if request.param == "torch":
        return None
    native: Kernels = request.getfixturevalue("native_kernels")
    return native


@pytest.fixture
def decoder(tiny: PreTrainedModel, kernels_folder: Path) -> LlamaDecoder:
    """A decoder as it is served: with native kernels where there is a compiler."""
    kernels = load_kernels(kernels_folder, torch.float32)
    return LlamaDecoder(tiny, context_length=512, kernels=kernels)


@pytest.fixture
def vocabulary(tokenizer: PreTrainedTokenizerFast) -> Vocabulary:
    return Vocabulary(tokenizer)


@pytest.fixture
def adapter(base_folder: Path, tmp_path: Path) -> MakeAdapter:
    """Make an adapter: its files, and PEFT's own model for comparison."""

    def make(name: str = "a", **config: Any) -> tuple[AdapterFiles, PeftModel]:
        torch.manual_seed(sum(name.encode()))
        settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", **config}
        model = make_adapter(load_tiny(base_folder), tmp_path / name, **settings)
        return AdapterFiles(f"prefix/{name}", tmp_path / name), model

    return make


@pytest.fixture(scope="module")
def engine(
    base_folder: Path, base_model: CatalogModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EngineClient]:
    """An engine with the models of `running_chat_engine`; some modules have one of their own."""
    home = tmp_path_factory.mktemp("engine")
    with running_chat_engine(home, base_folder, base_model) as engine:
        yield engine


@pytest.fixture
def client(engine: EngineClient) -> OpenAI:
    return engine.client


@pytest.fixture
def greedy(client: OpenAI) -> Callable[..., Any]:
    return make_greedy_chat(client)
