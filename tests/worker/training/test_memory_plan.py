"""The memory plan of a GPU: its counts beside what a step allocates, and its decisions."""

import pytest
import torch
from transformers import PretrainedConfig

from tests.worker.training.test_forward import LLAMA, QWEN3, model_with_adapter, rows
from worker.training import memory_plan, workspace
from worker.training.batching import collate
from worker.training.fused_ops import TorchFusedOps
from worker.training.llama import LlamaCausalLM
from worker.training.memory_plan import TokenBytes, count_fitting, limit_tokens, must_recompute

CPU = torch.device("cpu")


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("recomputes", [False, True])
@pytest.mark.parametrize("config", [LLAMA, QWEN3])
def test_a_step_allocates_about_as_much_as_is_counted(
    config: PretrainedConfig, recomputes: bool, dropout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The kernel that GPUs use, which keeps no attention weights; memory by the byte.
    monkeypatch.setattr(TorchFusedOps, "max_attention_length", 0)
    monkeypatch.setattr(workspace, "CHUNK_BYTES", 2**14)
    model = model_with_adapter(config, dropout=dropout)
    causal_lm = LlamaCausalLM(model, gradient_checkpointing=recomputes)
    batch = collate(rows([300, 300], shared=0), CPU)
    causal_lm.token_nll(batch)[0].sum().backward()
    # On a CPU the workspaces have all but the kernel's own output and temporary copies.
    used = causal_lm._keep.num_bytes + causal_lm._scratch.num_bytes
    counted = TokenBytes.of(config, 4, torch.float32, has_dropout=dropout > 0)
    expected = counted.recomputing if recomputes else counted.keeping
    assert 0.6 * expected < used / len(batch.ids) < 1.05 * expected


class Llama8b:
    model_type = "llama"
    hidden_size, intermediate_size, num_hidden_layers = 4096, 14336, 32
    num_attention_heads, num_key_value_heads, head_dim, rms_norm_eps = 32, 8, 128, 1e-5


def test_an_8b_model_keeps_activations_on_a_large_gpu_alone() -> None:
    counted = TokenBytes.of(Llama8b, 16, torch.bfloat16)
    assert 3e6 < counted.keeping < 5e6, "bytes per token"
    assert counted.recomputing < counted.keeping / 5
    adapter = 42_000_000
    keeping, recomputing = count_fitting(counted, 120 * 10**9, adapter)
    assert keeping > 16384
    keeping, recomputing = count_fitting(counted, 8 * 10**9, adapter)
    assert keeping < 2048 < recomputing
    assert list(count_fitting(counted, 10**9, adapter)) == [0, 0]


@pytest.mark.parametrize(
    ("fitting", "longest_row", "recomputes", "max_tokens"),
    [
        ((9000, 90_000), 500, False, 8192),
        ((4000, 40_000), 500, False, 4000),
        ((4000, 40_000), 4001, True, 8192),
        ((2000, 5000), 500, True, 5000),
        ((0, 0), 500, True, 1),
        (None, 500, False, 8192),
    ],
)
def test_activations_are_kept_if_enough_tokens_and_the_longest_row_fit(
    fitting: tuple[int, int] | None,
    longest_row: int,
    recomputes: bool,
    max_tokens: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory_plan, "_count_fitting", lambda _model: fitting)
    model = model_with_adapter(LLAMA)
    assert must_recompute(model, longest_row) == recomputes
    assert limit_tokens(model, 8192, recomputes=recomputes) == max_tokens


def test_the_widest_weight_of_an_8b_model_is_dequantized_into_less_than_half_a_gigabyte() -> None:
    assert (
        2 * 14336 * 4096 * 2 < memory_plan.count_dequantizing(Llama8b, torch.bfloat16) < 0.5 * 10**9
    )


def test_a_cpu_has_no_plan() -> None:
    model = model_with_adapter(LLAMA)
    assert not must_recompute(model, 10**9)
    assert limit_tokens(model, 2048, recomputes=False) == 2048
