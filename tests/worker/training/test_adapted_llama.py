"""Llamas with an adapter that is not PEFT's: the same numbers and files, without its imports."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from app.recipes.chat import LoraSettings
from tests.worker.conftest import tiny_config
from tests.worker.training.conftest import MakeRun, events
from worker import modeling
from worker.model.llama_files import load_llama
from worker.run_folder import CheckpointWritten
from worker.training.adapted_llama import AdaptedLlama, AdaptedModel
from worker.training.batching import Row, collate
from worker.training.errors import TrainingError
from worker.training.llama import LlamaCausalLM

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with more linear layers than PEFT writes down one by one."""
    torch.manual_seed(0)
    config: Any = tiny_config()
    config.num_hidden_layers = 12
    path = tmp_path_factory.mktemp("llama")
    LlamaForCausalLM(config).save_pretrained(path)
    return path


def make_both(folder: Path, settings: LoraSettings) -> tuple[AdaptedModel, AdaptedModel]:
    llama = load_llama(folder, dtype=torch.float32, device=CPU)
    assert llama is not None
    theirs = modeling.add_adapter(
        modeling.load_base(folder, dtype=torch.float32, device=CPU),
        rank=settings.rank,
        alpha=settings.alpha,
        dropout=settings.dropout,
        target_modules=settings.target_modules,
        base_model="tiny",
        seed=3,
    )
    return AdaptedLlama(llama, settings, base_model="tiny", seed=3), theirs


@pytest.mark.parametrize("modules", ["all-linear", ("q_proj", "down_proj")])
def test_it_is_saved_as_the_same_files(
    folder: Path, tmp_path: Path, modules: str | tuple[str, ...]
) -> None:
    settings = LoraSettings(rank=4, alpha=8, dropout=0.1, target_modules=modules)
    for name, model in zip(("ours", "theirs"), make_both(folder, settings), strict=True):
        (tmp_path / name).mkdir()
        modeling.save_adapter(model, tmp_path / name)
    for file in sorted((tmp_path / "theirs").iterdir()):
        assert (tmp_path / "ours" / file.name).read_bytes() == file.read_bytes(), file.name


def test_a_step_has_the_same_numbers(folder: Path) -> None:
    random = np.random.default_rng(2)
    rows = [
        Row(random.integers(0, 60, length).astype(np.int32), np.arange(4, length, dtype=np.int32))
        for length in (9, 17, 30)
    ]
    found = []
    for model in make_both(folder, LoraSettings(rank=4, alpha=8)):
        parameters = modeling.adapter_parameters(model)
        for name, parameter in parameters.items():
            if "lora_B" in name:
                torch.manual_seed(parameter.numel())
                parameter.data.normal_(std=0.1)
        losses, _ = LlamaCausalLM(model).token_nll(collate(rows, CPU, share_prefix=False))
        losses.sum().backward()
        found.append((losses.detach(), {name: p.grad for name, p in parameters.items()}))
    (losses, gradients), (expected, expected_gradients) = found
    assert torch.equal(losses, expected)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        assert gradient is not None
        assert gradient.abs().sum() > 0, name
        assert torch.equal(gradients[name], gradient), name  # type: ignore[arg-type]


def test_an_unknown_layer_is_refused(folder: Path) -> None:
    llama = load_llama(folder, dtype=torch.float32, device=CPU)
    assert llama is not None
    settings = LoraSettings(target_modules=("x_proj",))
    with pytest.raises(TrainingError, match="no linear layer named 'x_proj'"):
        AdaptedLlama(llama, settings, base_model="tiny", seed=3)


def test_a_job_imports_neither_peft_nor_transformers_models(make_run: MakeRun) -> None:
    """They take longer to import than all else until the first step."""
    folder = make_run()
    code = f"""
import sys
from pathlib import Path
from worker.run_folder import RunFolder
from worker.training import process
process._run(RunFolder(Path({str(folder.path)!r})))
unwanted = ("peft", "accelerate", "transformers.modeling_utils", "torch._dynamo", "scipy")
assert not [name for name in unwanted if name in sys.modules]
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert any(isinstance(event, CheckpointWritten) for event in events(folder))
