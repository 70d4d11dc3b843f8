"""Losses and adapter gradients of both forward passes equal transformers' on single rows."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from torch import Tensor
from torch.nn.attention import varlen
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from worker.modeling import adapter_parameters, add_adapter
from worker.training import attention, llama, workspace
from worker.training.batching import Row, collate
from worker.training.forward import CausalLM, TransformersCausalLM, choose_causal_lm
from worker.training.llama import LlamaCausalLM
from worker.training.native_fused_ops import find_kernels
from worker.training.native_lora_products import NativeLoraProducts, find_lora_kernels
from worker.training.neftune import add_embedding_noise, row_lengths
from worker.training.nf4 import quantize_base
from worker.training.workspace import Workspace

CPU = torch.device("cpu")
SHAPE = {
    "vocab_size": 120,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "head_dim": 8,
}
LLAMA = LlamaConfig(**SHAPE, tie_word_embeddings=True)
LLAMA3 = LlamaConfig(
    **SHAPE,
    attention_bias=True,
    rope_parameters={
        "rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
    },
)  # fmt: skip
QWEN2 = Qwen2Config(**SHAPE)
# Of whole blocks of 32, which products in int8 need; Qwen 2 has biases.
WIDE_SHAPE = {**SHAPE, "hidden_size": 96, "intermediate_size": 160, "head_dim": 16}
WIDE_LLAMA = LlamaConfig(**WIDE_SHAPE)
WIDE_QWEN2 = Qwen2Config(**WIDE_SHAPE)
QWEN3 = Qwen3Config(**SHAPE)
GPT2 = GPT2Config(vocab_size=120, n_embd=48, n_layer=2, n_head=4)
GEMMA3 = Gemma3TextConfig(**SHAPE, sliding_window=16)
NEOX = GPTNeoXConfig(
    vocab_size=120, hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4
)


def model_with_adapter(
    config: PretrainedConfig, *, quantize: bool = False, **settings: Any
) -> PeftModel:
    """A model of random weights, biases and norms, quantized or not, with a non-zero adapter."""
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_config(config).requires_grad_(False).eval()
    for parameter in base.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    if quantize:
        quantize_base(base, CPU)
    model = add_adapter(base, rank=4, alpha=8, base_model="x", seed=1, **settings)
    for name, parameter in adapter_parameters(model).items():
        if "lora_B" in name:
            parameter.data.normal_(std=0.1)
    return model


def rows(lengths: list[int], *, shared: int) -> list[Row]:
    """Rows with a common prefix; the last third of each row has labels."""
    random = np.random.default_rng(1)
    head = random.integers(0, 60, shared)
    packed_rows = []
    for length in lengths:
        ids = np.concatenate([head, random.integers(60, 120, length - shared)]).astype(np.int32)
        packed_rows.append(Row(ids, np.arange(length - length // 3, length, dtype=np.int32)))
    return packed_rows


def gradients(model: PeftModel) -> dict[str, Tensor]:
    by_name = {}
    for name, parameter in adapter_parameters(model).items():
        assert parameter.grad is not None, name
        by_name[name] = parameter.grad.clone()
        parameter.grad = None
    return by_name


def run_transformers(model: PeftModel, batch: list[Row]) -> tuple[Tensor, dict[str, Tensor]]:
    losses = []
    for row in batch:
        ids = torch.from_numpy(row.ids.astype(np.int64))
        logits = model(input_ids=ids[None]).logits[0, row.label_positions - 1]
        losses.append(cross_entropy(logits, ids[row.label_positions], reduction="none"))
    torch.cat(losses).sum().backward()
    return torch.cat(losses).detach(), gradients(model)


def run_causal_lm(
    causal_lm: CausalLM, model: PeftModel, batch: list[Row]
) -> tuple[Tensor, dict[str, Tensor]]:
    micro_batch = collate(batch, CPU, share_prefix=causal_lm.supports_shared_prefix)
    losses, _ = causal_lm.token_nll(micro_batch)
    losses.sum().backward()
    return losses.detach(), gradients(model)


def require_step_by_hand_equals_transformers(model: PeftModel, batch: list[Row]) -> None:
    expected, expected_gradients = run_transformers(model, batch)
    causal_lm = choose_causal_lm(model)
    assert isinstance(causal_lm, LlamaCausalLM)
    losses, found = run_causal_lm(causal_lm, model, batch)
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-4)
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-4, msg=name)


def preference_rows() -> list[Row]:
    """Two answers to each of three prompts, sorted by length: 30 tokens of prompt are in two."""
    random = np.random.default_rng(2)
    pairs = []
    for number in range(3):
        prompt = random.integers(0, 120, 30 + number)
        for answer in (8, 40):
            ids = np.concatenate([prompt, random.integers(0, 120, answer)]).astype(np.int32)
            pairs.append(Row(ids, np.arange(len(prompt), len(ids), dtype=np.int32)))
    return sorted(pairs, key=lambda row: row.num_tokens)


@pytest.mark.parametrize("config", [LLAMA, QWEN3])
def test_prompts_that_two_rows_share_are_computed_once_with_the_same_result(
    config: PretrainedConfig,
) -> None:
    model = model_with_adapter(config)
    batch = preference_rows()
    assert len(collate(batch, CPU).ids) == sum(row.num_tokens for row in batch) - 30 - 31 - 32
    expected, expected_gradients = run_transformers(model, batch)
    losses, found = run_causal_lm(choose_causal_lm(model), model, batch)
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-4)
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize(
    ("config", "lengths", "shared"),
    [
        pytest.param(LLAMA, [12, 20, 21, 90], 9, id="llama, a common prefix, two blocks"),
        pytest.param(LLAMA, [30], 0, id="llama, one row"),
        pytest.param(
            LLAMA, [12, 12, 12], 10, id="llama, the labels begin within the common prefix"
        ),
        pytest.param(LLAMA, [1030, 1050], 40, id="llama, longer than eager attention"),
        pytest.param(LLAMA3, [40, 45], 5, id="llama 3's rotary embedding, biases"),
        pytest.param(QWEN2, [40, 45], 5, id="qwen2: biases of q, k, v"),
        pytest.param(QWEN3, [40, 45], 5, id="qwen3: norms of q and k"),
        pytest.param(LlamaConfig(**SHAPE, mlp_bias=True), [40, 45], 5, id="biases in the mlp"),
    ],
)
def test_the_optimized_forward_pass_equals_transformers(
    config: PretrainedConfig, lengths: list[int], shared: int
) -> None:
    model = model_with_adapter(config)
    batch = rows(lengths, shared=shared)
    require_step_by_hand_equals_transformers(model, batch)


@pytest.mark.parametrize("lengths", [[12, 20, 21, 90], [30, 1040]])
@pytest.mark.parametrize("kind", [LlamaConfig, Qwen3Config])
def test_the_step_by_hand_equals_autograd_in_float64(
    kind: type[PretrainedConfig], lengths: list[int]
) -> None:
    model = model_with_adapter(kind(**SHAPE, attention_bias=True)).double()
    batch = rows(lengths, shared=9)
    expected, expected_gradients = run_transformers(model, batch)
    losses, found = run_causal_lm(LlamaCausalLM(model), model, batch)
    # transformers computes norms and angles in float32, whatever the dtype.
    torch.testing.assert_close(losses, expected, rtol=1e-6, atol=1e-6)
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("config", [LLAMA, QWEN3], ids=["llama", "qwen3"])
# Of products alone, and with rows and a shared prefix that attend in tiles.
@pytest.mark.parametrize(("lengths", "shared"), [([12, 20, 21, 90], 9), ([215, 230, 430], 210)])
def test_fused_ops_compute_the_same(
    config: PretrainedConfig,
    dtype: torch.dtype,
    lengths: list[int],
    shared: int,
    kernels_folder: Path,
) -> None:
    batch = rows(lengths, shared=shared)
    exact, exact_gradients = run_transformers(model_with_adapter(config), batch)
    results = []
    for kernels in (None, kernels_folder):
        model = model_with_adapter(config)
        model.get_base_model().to(dtype)
        for parameter in adapter_parameters(model).values():
            parameter.data = parameter.data.float()
        results.append(run_causal_lm(LlamaCausalLM(model, kernels=kernels), model, batch))
    (by_torch, torch_gradients), (by_native, native_gradients) = results
    # Both round differently in bfloat16: neither is further from what is exact.
    tolerance = 1e-4 if dtype == torch.float32 else 0.03
    torch.testing.assert_close(by_native, by_torch, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(by_native, exact, rtol=tolerance, atol=tolerance)
    for name, gradient in exact_gradients.items():
        error = (native_gradients[name] - gradient).norm() / gradient.norm()
        torch_error = (torch_gradients[name] - gradient).norm() / gradient.norm()
        assert error < 1.3 * torch_error + tolerance / 10, name


def test_native_code_multiplies_with_all_adapters(kernels_folder: Path) -> None:
    model = model_with_adapter(WIDE_LLAMA)
    model.get_base_model().to(torch.float32)
    kernels = find_kernels(kernels_folder, torch.float32, torch.device("cpu"))
    if find_lora_kernels(kernels) is None:
        pytest.skip("this machine has no C compiler, or a CPU without AVX2")
    linears = LlamaCausalLM(model, kernels=kernels_folder)._linears
    assert all(isinstance(linear._lora, NativeLoraProducts) for linear in linears)


@pytest.mark.parametrize("config", [WIDE_LLAMA, WIDE_QWEN2], ids=["llama", "qwen2"])
def test_products_in_int8_compute_nearly_the_same(
    config: PretrainedConfig, kernels_folder: Path
) -> None:
    batch = rows([12, 20, 21, 90], shared=9)
    exact, exact_gradients = run_transformers(model_with_adapter(config), batch)
    results = []
    for multiplies_int8 in (False, True):
        model = model_with_adapter(config)
        model.get_base_model().to(torch.bfloat16)
        for parameter in adapter_parameters(model).values():
            parameter.data = parameter.data.float()
        causal_lm = LlamaCausalLM(model, kernels=kernels_folder, multiplies_int8=multiplies_int8)
        results.append(run_causal_lm(causal_lm, model, batch))
    (bfloat16, bfloat16_gradients), (int8, int8_gradients) = results
    torch.testing.assert_close(int8, bfloat16, rtol=0.03, atol=0.03)
    torch.testing.assert_close(int8.mean(), exact.mean(), rtol=0.003, atol=0.003)
    for name, gradient in exact_gradients.items():
        error = (int8_gradients[name] - gradient).norm() / gradient.norm()
        bfloat16_error = (bfloat16_gradients[name] - gradient).norm() / gradient.norm()
        assert error < bfloat16_error + 0.04, name


def attend_row_by_row(
    query: Tensor, key: Tensor, value: Tensor, ends: Tensor, *rest: Any, **options: Any
) -> Tensor:
    """Attention of rows laid end to end, as torch's kernel for GPUs computes it."""
    assert options == {"window_size": (-1, 0), "enable_gqa": True}
    # Its own checks of types, shapes and sizes, which need no GPU.
    arguments = [part.to("meta") for part in (query, key, value, ends, ends)]
    checked = varlen.varlen_attn(*arguments, *rest[1:], **options)
    assert isinstance(checked, Tensor)
    assert (ends.dtype, checked.shape) == (torch.int32, query.shape)
    attended = []
    for start, end in itertools.pairwise(ends.tolist()):
        q, k, v = (part[start:end].transpose(0, 1)[None] for part in (query, key, value))
        out = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        attended.append(out[0].transpose(0, 1))
    # What is behind the last row is nobody's.
    rest = query.new_full((len(query) - int(ends[-1]), *query.shape[1:]), torch.nan)
    return torch.cat([*attended, rest])


@pytest.mark.parametrize("config", [LLAMA, QWEN3])
@pytest.mark.parametrize("shares", [False, True])
def test_rows_laid_end_to_end_equal_padded_ones(
    config: PretrainedConfig, shares: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "_get_varlen_attention", lambda: attend_row_by_row)
    model = model_with_adapter(config)
    causal_lm = LlamaCausalLM(model)
    for batch in (rows([12, 20, 21, 90], shared=9), preference_rows(), rows([5], shared=0)):
        results = []
        for pads in (True, False):
            micro_batch = collate(batch, CPU, share_prefix=shares, pad_rows=pads)
            losses, _ = causal_lm.token_nll(micro_batch)
            losses.sum().backward()
            results.append((losses.detach(), gradients(model)))
        (block,) = micro_batch.pad_indices
        assert len(block) == 1
        torch.testing.assert_close(results[1][0], results[0][0], rtol=1e-5, atol=1e-5)
        for name, gradient in results[0][1].items():
            torch.testing.assert_close(
                results[1][1][name], gradient, rtol=1e-4, atol=1e-5, msg=name
            )


def test_rows_are_padded_where_there_is_no_kernel_for_any_lengths() -> None:
    assert LlamaCausalLM(model_with_adapter(LLAMA)).needs_padding
    supports = attention.supports_rows_end_to_end
    assert not supports(CPU, torch.bfloat16, 64)


def test_rows_of_one_batch_equal_rows_alone() -> None:
    """Gradients are added up: of rows together, or one micro-batch after the other."""
    model = model_with_adapter(LLAMA)
    batch = rows([12, 20, 21, 90], shared=9)
    causal_lm = LlamaCausalLM(model)
    losses, together = run_causal_lm(causal_lm, model, batch)
    alone = []
    for row in batch:
        nll, _ = causal_lm.token_nll(collate([row], CPU))
        nll.sum().backward()
        alone.append(nll.detach())
    torch.testing.assert_close(torch.cat(alone), losses, rtol=1e-4, atol=1e-4)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, together[name], rtol=1e-3, atol=1e-4, msg=name)


def test_each_loss_has_its_own_upstream_gradient() -> None:
    """DPO subtracts the losses of one answer from those of another."""
    model = model_with_adapter(LLAMA)
    batch = collate(rows([12, 20], shared=9), CPU)
    factors = torch.linspace(-1, 2, len(batch.labels))
    causal_lm = LlamaCausalLM(model)
    (causal_lm.token_nll(batch)[0] * factors).sum().backward()
    by_hand = gradients(model)
    generic = TransformersCausalLM(model)
    unshared = collate(rows([12, 20], shared=9), CPU, share_prefix=False)
    (generic.token_nll(unshared)[0] * factors).sum().backward()
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(by_hand[name], gradient, rtol=1e-3, atol=1e-4, msg=name)


def test_a_backward_pass_whose_memory_was_used_again_is_an_error() -> None:
    causal_lm = LlamaCausalLM(model_with_adapter(LLAMA))
    batch = collate(rows([12, 20], shared=9), CPU)
    losses, _ = causal_lm.token_nll(batch)
    causal_lm.token_nll(batch)
    with pytest.raises(RuntimeError, match="used by another pass"):
        losses.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_without_gradients_adapters_that_add_nothing_are_not_computed(dtype: torch.dtype) -> None:
    """The bits are the same: DPO's first loss compares the losses of both passes."""
    model = model_with_adapter(LLAMA).to(dtype)
    parameters = adapter_parameters(model)
    for name, parameter in parameters.items():
        if "lora_B" in name:
            parameter.data.zero_()
    causal_lm = LlamaCausalLM(model)
    batch = collate(rows([12, 20], shared=9), CPU)
    with_gradients = causal_lm.token_nll(batch)[0].detach()
    with torch.no_grad():
        assert causal_lm.token_nll(batch)[0].equal(with_gradients)
        parameters[next(name for name in parameters if "lora_A" in name)].fill_(torch.inf)
        assert causal_lm.token_nll(batch)[0].equal(with_gradients)


def test_without_gradients_an_adapter_of_any_layer_has_its_effect() -> None:
    model = model_with_adapter(LLAMA)
    parameters = adapter_parameters(model)
    *others, last = [name for name in parameters if "lora_B" in name]
    for name in others:
        parameters[name].data.zero_()
    causal_lm = LlamaCausalLM(model)
    batch = collate(rows([12, 20], shared=9), CPU)
    with_gradients = causal_lm.token_nll(batch)[0].detach()
    with torch.no_grad():
        assert causal_lm.token_nll(batch)[0].equal(with_gradients)
        parameters[last].zero_()
        assert not causal_lm.token_nll(batch)[0].equal(with_gradients)


def test_merging_weights_leaves_the_model_intact() -> None:
    model = model_with_adapter(LLAMA)
    ids = torch.arange(20)[None]
    before = model(input_ids=ids).logits
    choose_causal_lm(model)
    torch.testing.assert_close(model(input_ids=ids).logits, before)


@pytest.mark.parametrize("config", [NEOX, LLAMA], ids=["gpt-neox", "llama"])
def test_the_generic_forward_pass_equals_transformers(config: PretrainedConfig) -> None:
    model = model_with_adapter(config)
    batch = rows([12, 20, 21, 90], shared=9)
    expected, expected_gradients = run_transformers(model, batch)
    losses, found = run_causal_lm(TransformersCausalLM(model), model, batch)
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-4)
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(NEOX, id="another architecture"),
        pytest.param(MistralConfig(**SHAPE, sliding_window=16), id="a sliding window"),
        pytest.param(LlamaConfig(**SHAPE, hidden_act="gelu"), id="another activation"),
    ],
)
def test_unsupported_models_use_the_generic_forward_pass(config: PretrainedConfig) -> None:
    assert isinstance(choose_causal_lm(model_with_adapter(config)), TransformersCausalLM)


@pytest.mark.parametrize(
    "modules",
    [["v_proj"], ["o_proj", "up_proj"], ["q_proj", "v_proj", "down_proj"]],
    ids=lambda modules: "+".join(modules),
)
@pytest.mark.parametrize("config", [LLAMA, QWEN2], ids=["llama", "qwen2: biases"])
def test_layers_without_an_adapter_are_computed_alike(
    config: PretrainedConfig, modules: list[str]
) -> None:
    model = model_with_adapter(config, target_modules=modules)
    batch = rows([12, 20, 21, 90], shared=9)
    expected, expected_gradients = run_transformers(model, batch)
    losses, found = run_causal_lm(LlamaCausalLM(model), model, batch)
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-4)
    assert {name.split(".")[-3] for name in found} == set(modules)
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-4, msg=name)


def nll(causal_lm: CausalLM) -> Tensor:
    share = causal_lm.supports_shared_prefix
    return causal_lm.token_nll(collate(rows([12, 20], shared=9), CPU, share_prefix=share))[
        0
    ].detach()


@pytest.mark.parametrize("implementation", [LlamaCausalLM, TransformersCausalLM])
@pytest.mark.parametrize("noise", ["dropout", "neftune"])
def test_noise_is_added_in_training_only(
    implementation: type[LlamaCausalLM] | type[TransformersCausalLM], noise: str
) -> None:
    model = model_with_adapter(LLAMA, dropout=0.5 if noise == "dropout" else 0.0)
    alpha = 5.0 if noise == "neftune" else 0.0
    with torch.no_grad():
        plain = nll(TransformersCausalLM(model_with_adapter(LLAMA)))
        causal_lm = implementation(model, neftune_alpha=alpha)
        torch.testing.assert_close(nll(causal_lm), plain, rtol=1e-4, atol=1e-4)
    samples = torch.stack([nll(causal_lm) for _ in range(2)])
    assert not torch.allclose(samples[0], samples[1])
    assert not torch.allclose(samples[0], plain)


def test_noise_on_embeddings_is_bounded_by_the_length_of_the_row() -> None:
    positions = torch.tensor([0, 1, 2, 0, 0, 1])
    lengths = row_lengths(positions)
    assert lengths.flatten().tolist() == [3, 3, 3, 1, 2, 2]
    torch.manual_seed(0)
    noise = add_embedding_noise(torch.zeros(6, 4096), lengths, 8.0)
    bounds = 8.0 / (lengths * 4096).sqrt()
    assert bool((noise.abs() <= bounds).all())
    torch.testing.assert_close(noise.abs().amax(1), bounds.flatten(), rtol=0.01, atol=0)


class TestGradientCheckpointing:
    """Layers are computed again in the backward pass instead of being kept."""

    BATCH = rows([30, 40, 41], shared=8)

    def run(
        self, config: PretrainedConfig, implementation: Any, *, is_on: bool, **settings: Any
    ) -> tuple[Tensor, dict[str, Tensor], int]:
        """Losses, gradients, and the bytes of the tensors that autograd keeps."""
        model = model_with_adapter(config, **settings)
        causal_lm = implementation(model, gradient_checkpointing=is_on)
        kept: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        torch.manual_seed(7)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            losses, by_name = run_causal_lm(causal_lm, model, self.BATCH)
        return losses, by_name, sum(kept.values())

    @pytest.mark.parametrize("dropout", [0.0, 0.5])
    @pytest.mark.parametrize("kind", [LlamaConfig, Qwen3Config])
    def test_the_step_by_hand_gives_the_same_bits_in_less_memory(
        self, kind: type[PretrainedConfig], dropout: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(workspace, "CHUNK_BYTES", 1)
        workspaces: list[Workspace] = []

        def make(device: torch.device) -> Workspace:
            workspaces.append(Workspace(device))
            return workspaces[-1]

        monkeypatch.setattr(llama, "Workspace", make)
        config = kind(**{**SHAPE, "num_hidden_layers": 6})
        plain, plain_gradients, _ = self.run(config, LlamaCausalLM, is_on=False, dropout=dropout)
        losses, by_name, _ = self.run(config, LlamaCausalLM, is_on=True, dropout=dropout)
        assert torch.equal(losses, plain)
        for name, gradient in plain_gradients.items():
            assert torch.equal(by_name[name], gradient), name
        plain_bytes, _, kept_bytes, _ = (each.num_bytes for each in workspaces)
        assert kept_bytes < plain_bytes / 2

    @pytest.mark.parametrize("dropout", [0.0, 0.5])
    @pytest.mark.parametrize(
        ("config", "implementation"),
        [
            pytest.param(LLAMA, TransformersCausalLM, id="llama by transformers"),
            pytest.param(NEOX, TransformersCausalLM, id="neox"),
            pytest.param(
                GPT2,
                TransformersCausalLM,
                id="gpt2, with dropouts of its own",
                marks=pytest.mark.filterwarnings("ignore:fan_in_fan_out"),
            ),
            pytest.param(GEMMA3, TransformersCausalLM, id="gemma3"),
        ],
    )
    def test_it_gives_the_same_bits_in_less_memory(
        self, config: PretrainedConfig, implementation: Any, dropout: float
    ) -> None:
        plain, plain_gradients, plain_bytes = self.run(
            config, implementation, is_on=False, dropout=dropout
        )
        losses, by_name, kept_bytes = self.run(config, implementation, is_on=True, dropout=dropout)
        assert torch.equal(losses, plain)
        for name, gradient in plain_gradients.items():
            assert torch.equal(by_name[name], gradient), name
        assert kept_bytes < plain_bytes / 2

    def test_evaluation_computes_each_layer_once(self) -> None:
        model = model_with_adapter(NEOX)
        causal_lm = TransformersCausalLM(model, gradient_checkpointing=True)
        with torch.no_grad():
            losses, _ = causal_lm.token_nll(collate(self.BATCH, CPU, share_prefix=False))
        assert not losses.requires_grad
