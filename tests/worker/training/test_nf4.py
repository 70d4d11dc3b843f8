"""Training on weights in 4 bits (NF4): their values, both forward passes, and whole jobs."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig

from app.catalog import CatalogModel
from app.recipes.chat import NF4_BYTES_PER_WEIGHT, LoraSettings
from tests.polling import wait_until
from tests.worker.test_host_memory import read_resident_bytes
from tests.worker.training.conftest import MakeRun, events, write_rows
from tests.worker.training.conftest import chat as make_chat
from tests.worker.training.test_dpo import preference
from tests.worker.training.test_forward import (
    CPU,
    GPT2,
    LLAMA,
    QWEN2,
    QWEN3,
    SHAPE,
    model_with_adapter,
    require_step_by_hand_equals_transformers,
    rows,
    run_causal_lm,
    run_transformers,
)
from tests.worker.training.test_memory_check import make_host
from worker.comparison_notes import ComparisonNote
from worker.host_memory import HostMemory
from worker.model.weight_counts import count_weights
from worker.model_sources import materialize
from worker.modeling import load_base
from worker.run_folder import CheckpointWritten, ExitCode, Metrics, Noted, RunFolder, Started
from worker.training import preloading
from worker.training.errors import TrainingError
from worker.training.forward import TransformersCausalLM
from worker.training.memory_check import PROCESS_BYTES, check_memory
from worker.training.nf4 import (
    BLOCK,
    LEVELS,
    Nf4Linear,
    Nf4Weight,
    is_quantized,
    quantize_base,
    restore_layers,
)

NF4 = {"quantization": "nf4", "batch_size": 4, "n_epochs": 8, "lora_dropout": 0.1}


class TestWeights:
    def test_each_is_the_nearest_level_of_its_block(self) -> None:
        weight = torch.randn(24, 32, generator=torch.Generator().manual_seed(0))
        found = Nf4Weight.quantize(weight).to(torch.float32).view(-1, BLOCK)
        blocks = weight.view(-1, BLOCK)
        scales = blocks.abs().amax(1).to(torch.bfloat16).float()
        levels = scales[:, None, None] * torch.tensor(LEVELS)
        nearest = (blocks[..., None] - levels).abs().argmin(-1, keepdim=True)
        expected = levels.expand(*blocks.shape, -1).gather(-1, nearest)[..., 0]
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
        assert (found - blocks).abs().mean() < 0.1 * blocks.abs().mean()

    def test_bfloat16_differs_by_rounding_alone_and_zeros_stay_zeros(self) -> None:
        weight = torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
        weight[3] = 0
        quantized = Nf4Weight.quantize(weight.bfloat16())
        full = quantized.to(torch.float32)
        torch.testing.assert_close(quantized.to(torch.bfloat16).float(), full, rtol=0.01, atol=0)
        assert not full[3].any()
        assert torch.equal(quantized.to(torch.float64).float(), full)

    def test_stacked_ones_are_views_of_one(self) -> None:
        generator = torch.Generator().manual_seed(0)
        parts = [torch.randn(rows, 32, generator=generator) for rows in (4, 2, 6)]
        quantized = [Nf4Weight.quantize(part) for part in parts]
        stacked = Nf4Weight.stack(quantized)
        dense = torch.cat([each.to(torch.float32) for each in quantized])
        assert torch.equal(stacked.to(torch.float32), dense)
        views = stacked.split([4, 2, 6])
        assert views[1].codes.data_ptr() == stacked.codes.data_ptr() + len(quantized[0].codes)
        assert torch.equal(views[2].to(torch.float32), quantized[2].to(torch.float32))

    def test_they_take_the_memory_that_is_counted(self) -> None:
        quantized = Nf4Weight.quantize(torch.randn(64, 64))
        used = quantized.codes.nbytes + quantized.scales.nbytes
        assert used == NF4_BYTES_PER_WEIGHT * quantized.numel()


class TestModels:
    @pytest.mark.parametrize("config", [LLAMA, QWEN2, QWEN3])
    def test_the_step_by_hand_has_the_losses_and_gradients_of_transformers(
        self, config: PretrainedConfig
    ) -> None:
        model = model_with_adapter(
            config, quantize=True, target_modules=["q_proj", "v_proj", "down_proj"]
        )
        batch = rows([12, 30, 31, 60], shared=0)
        require_step_by_hand_equals_transformers(model, batch)

    def test_other_models_have_that_of_transformers(self) -> None:
        model = model_with_adapter(LLAMA, quantize=True)
        batch = rows([12, 30], shared=0)
        expected, expected_gradients = run_transformers(model, batch)
        losses, found = run_causal_lm(TransformersCausalLM(model), model, batch)
        torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-4)
        for name, gradient in expected_gradients.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-4, msg=name)

    def test_restored_layers_are_those_of_the_full_model(self) -> None:
        full, model = (model_with_adapter(LLAMA, quantize=quantize) for quantize in (False, True))
        batch = rows([12, 30], shared=0)
        expected, _ = run_transformers(full, batch)
        rounded, _ = run_transformers(model, batch)
        assert not torch.allclose(rounded, expected, atol=1e-3)
        restore_layers(model.get_base_model(), model_with_adapter(LLAMA).unload())
        assert not is_quantized(model)
        found, _ = run_transformers(model, batch)
        assert torch.equal(found, expected)

    def test_a_model_without_linear_layers_is_refused(self) -> None:
        with pytest.raises(TrainingError, match="'gpt2' cannot be quantized") as error:
            quantize_base(AutoModelForCausalLM.from_config(GPT2), CPU)
        assert (error.value.exit_code, error.value.event.param) == (
            ExitCode.USER_ERROR,
            "quantization",
        )

    @pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
    def test_the_pages_of_the_full_weights_are_not_held(self, tmp_path: Path) -> None:
        config = LlamaConfig(
            **{
                **SHAPE,
                "hidden_size": 512,
                "intermediate_size": 2048,
                "num_attention_heads": 4,
                "head_dim": 128,
            }
        )
        AutoModelForCausalLM.from_config(config).bfloat16().save_pretrained(tmp_path)
        file = tmp_path / "model.safetensors"
        base = preloading.load_quantized_base(tmp_path, dtype=torch.bfloat16, device=CPU)
        assert is_quantized(base)
        assert read_resident_bytes(file) < file.stat().st_size / 4

    def test_the_head_stays_as_it_is(self, tiny_folder: Path) -> None:
        base = load_base(tiny_folder, dtype=torch.float32, device=CPU)
        quantize_base(base, CPU)
        assert not isinstance(base.get_output_embeddings(), Nf4Linear)
        assert sum(isinstance(each, Nf4Linear) for each in base.modules()) == 14


def test_layers_that_the_fork_server_has_wrapped_are_not_used(
    tiny_model: CatalogModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preloading, "_preloaded", None)
    monkeypatch.setattr(preloading.modeling, "choose_dtype", lambda _device: torch.float32)
    preloading.preload(tiny_model.to_json(), tmp_path)
    preloading.preload_layers(LoraSettings())
    folder = materialize(tiny_model, tmp_path)
    base = preloading.load_quantized_base(folder, dtype=torch.float32, device=CPU)
    model = preloading.add_adapter(base, LoraSettings(), base_model="x", seed=1)
    assert is_quantized(model)
    preloaded = preloading.load_base(folder, dtype=torch.float32, device=CPU)
    assert not is_quantized(preloaded)
    assert not is_quantized(
        preloading.add_adapter(preloaded, LoraSettings(), base_model="x", seed=1)
    )


def test_the_memory_check_counts_four_bits(tiny_folder: Path, tmp_path: Path) -> None:
    counts = count_weights(tiny_folder)
    outside = 4 * (counts.total - counts.in_layers)
    needed = outside + int(NF4_BYTES_PER_WEIGHT * counts.in_layers) + PROCESS_BYTES

    def host(size: int) -> HostMemory:
        return make_host(tmp_path, total=size, available=size)

    check_memory(tiny_folder, torch.float32, CPU, is_quantized=True, memory=host(needed + 2048))
    for is_nf4, size in ((True, needed - 2048), (False, needed + 2048)):
        with pytest.raises(TrainingError):
            check_memory(tiny_folder, torch.float32, CPU, is_quantized=is_nf4, memory=host(size))


def start(folder: RunFolder) -> subprocess.Popen[bytes]:
    with folder.log.open("ab") as log:
        command = [sys.executable, "-m", "worker.training", str(folder.path)]
        return subprocess.Popen(command, stdout=log, stderr=log)


@pytest.mark.training
class TestJobs:
    def test_a_killed_one_resumes_to_the_same_bits_and_learns(self, make_run: MakeRun) -> None:
        folders = [make_run(name, hyperparameters=NF4) for name in ("undisturbed", "killed")]
        for folder in folders:
            write_rows(folder.valid_file, [make_chat(number) for number in range(20, 24)])
        killed = start(folders[1])
        wait_until(
            "it has a checkpoint",
            lambda: any(isinstance(event, CheckpointWritten) for event in events(folders[1])),
        )
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        for folder in folders:
            assert start(folder).wait(240) == ExitCode.DONE, folder.log.read_text()
        starts = [event for event in events(folders[1]) if isinstance(event, Started)]
        assert starts[1].from_step > 0
        last = [
            load_file(folder.checkpoint(24) / "adapter_model.safetensors") for folder in folders
        ]
        assert last[0].keys() == last[1].keys()
        assert all(torch.equal(last[0][name], last[1][name]) for name in last[0])
        losses = [
            event.values["train_loss"] for event in events(folders[0]) if isinstance(event, Metrics)
        ]
        assert losses[-1] < 0.95 * losses[0]
        assert starts[0].hyperparameters["quantization"] == "nf4"

    @pytest.mark.parametrize("method", ["supervised", "dpo"])
    def test_the_served_model_is_compared_on_the_full_weights(
        self, make_run: MakeRun, method: str
    ) -> None:
        folder = make_run(hyperparameters=NF4, method=method)
        if method == "dpo":
            write_rows(folder.train_file, [preference(number) for number in range(12)])
        assert start(folder).wait(240) == ExitCode.DONE, folder.log.read_text()
        notes = {event.key: event for event in events(folder) if isinstance(event, Noted)}
        assert "trained on quantized weights" in notes["quantization"].message
        assert ComparisonNote.AGREES in notes

    def test_several_processes_train_on_them(self, make_run: MakeRun) -> None:
        folder = make_run(processes=2, hyperparameters=NF4, method="supervised")
        assert start(folder).wait(240) == ExitCode.DONE, folder.log.read_text()
