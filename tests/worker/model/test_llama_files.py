"""Models read from their files are what transformers makes of them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from tests.worker.conftest import tiny_config
from worker.inference.adapter_format import linear_sizes
from worker.inference.llama_weights import LlamaModel
from worker.model.llama import LlamaShape, unsupported_reason
from worker.model.llama_files import load_llama
from worker.modeling import load_base

CPU = torch.device("cpu")


def save(folder: Path, **values: Any) -> Path:
    torch.manual_seed(0)
    config: LlamaConfig = tiny_config()
    for name, value in values.items():
        setattr(config, name, value)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("is_tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_equals_the_model_of_transformers(
    tmp_path: Path, is_tied: bool, dtype: torch.dtype
) -> None:
    folder = save(tmp_path, tie_word_embeddings=is_tied)
    theirs = load_base(folder, dtype=dtype, device=CPU)
    ours = load_llama(folder, dtype=dtype, device=CPU)
    assert ours is not None
    expected = theirs.state_dict()
    actual = ours.state_dict()
    assert actual.keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.equal(actual[name], weight), name
    assert linear_sizes(ours) == linear_sizes(theirs)
    assert unsupported_reason(ours, 64) is unsupported_reason(theirs, 64) is None
    assert LlamaShape.of(ours.config) == LlamaShape.of(theirs.config)
    models = [LlamaModel(model, context_length=64) for model in (ours, theirs)]
    assert models[0].is_tied == models[1].is_tied == is_tied
    for table, other in zip(*(model.rope_tables(model.norm) for model in models), strict=True):
        assert torch.equal(table, other)


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "mistral"},
        {"attention_bias": True},
        {"hidden_act": "gelu"},
        {"head_dim": None},
        {"rope_parameters": {"rope_theta": 1e4, "rope_type": "linear", "factor": 2.0}},
        {"quantization_config": {}},
        {"sliding_window": 16},
        {"num_hidden_layers": 1},
    ],
)
def test_what_it_does_not_know_is_left_to_transformers(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    folder = save(tmp_path)
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps(config | change))
    assert load_llama(folder, dtype=torch.float32, device=CPU) is None


def test_other_weights_are_left_to_transformers(tmp_path: Path) -> None:
    path = save(tmp_path) / "model.safetensors"
    weights = load_file(path)
    save_file({**weights, "model.layers.0.self_attn.q_norm.weight": torch.ones(8)}, path)
    assert load_llama(tmp_path, dtype=torch.float32, device=CPU) is None


def test_an_engine_needs_no_model_classes(tiny_folder: Path) -> None:
    """They take as long to import as all else that an engine does until it is ready."""
    code = f"""
import sys
from pathlib import Path
from app.catalog import CatalogModel, ModelKind
import worker.inference.main
from worker.inference.loaded_model import load_model
entry = CatalogModel(
    id="tiny", source="path:{tiny_folder}", kind=ModelKind.CAUSAL, methods=("supervised",),
    context_length=512,
)
load_model(entry, Path({str(tiny_folder.parent)!r}))
names = ("transformers.models", "transformers.modeling_utils", "torch._dynamo", "peft")
names += ("torch.distributed.tensor",)
assert not [name for name in names if name in sys.modules]
"""
    subprocess.run([sys.executable, "-c", code], check=True)
