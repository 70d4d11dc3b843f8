"""The step written by hand: states and gradients equal transformers' and autograd's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import AutoModel, BertConfig, BertModel, RobertaConfig

from worker.encoding.backbone import (
    compute_hidden_states,
    find_linear_layers,
    list_full_tuning_parameter_names,
)
from worker.encoding.tokenizer import PaddedBatch
from worker.training.encoders import bert
from worker.training.encoders.bert import BertEncoder
from worker.training.lora import LoraLinear

SHAPE = {
    "vocab_size": 90,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
}
LENGTHS = [9, 70, 3, 70, 25, 9]


def make_backbone(dtype: torch.dtype) -> BertModel:
    """A model of random weights, all of whose layers are trained."""
    torch.manual_seed(0)
    backbone = BertModel(BertConfig(**SHAPE), add_pooling_layer=False).eval().to(dtype)
    names = list_full_tuning_parameter_names(backbone)
    for name, parameter in backbone.named_parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
        parameter.requires_grad_(name in names)
    return backbone


def add_adapters(backbone: BertModel, *, dropout: float = 0.0) -> None:
    """Freeze the model, and add random adapters to all linear layers but one."""
    backbone.requires_grad_(False)
    for name, layer in find_linear_layers(backbone).items():
        if name.endswith("layer.1.attention.self.key"):
            continue
        adapter = LoraLinear(layer, rank=3, alpha=6, dropout=dropout).to(layer.weight.dtype)
        adapter.lora_b.data.normal_(std=0.1)
        backbone.set_submodule(name, adapter)


def make_batch(lengths: list[int]) -> PaddedBatch:
    random = np.random.default_rng(1)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    ids, types = (torch.from_numpy(random.integers(0, n, mask.shape)) for n in (90, 2))
    return PaddedBatch(ids=ids * mask, mask=mask, token_type_ids=types * mask)


def gradients(backbone: BertModel) -> dict[str, Tensor]:
    found = {
        name: parameter.grad.clone()
        for name, parameter in backbone.named_parameters()
        if parameter.grad is not None
    }
    backbone.zero_grad()
    return found


@pytest.mark.parametrize("has_adapters", [False, True])
@pytest.mark.parametrize("lengths", [LENGTHS, [5], [16] * 3])
def test_states_and_gradients_equal_autograds(lengths: list[int], has_adapters: bool) -> None:
    backbone, batch = make_backbone(torch.float64), make_batch(lengths)
    if has_adapters:
        add_adapters(backbone)
    upstream = torch.randn(*batch.ids.shape, SHAPE["hidden_size"], dtype=torch.float64)
    upstream *= batch.mask[..., None]
    expected = compute_hidden_states(backbone, batch)
    expected.backward(upstream)
    expected_gradients = gradients(backbone)
    states = BertEncoder(backbone, torch.float64, None).compute_states(batch)
    torch.testing.assert_close(states[batch.mask], expected[batch.mask])
    states.backward(upstream)
    found = gradients(backbone)
    assert found.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(found[name], gradient, msg=lambda text, n=name: f"{n}: {text}")


def test_dropout_of_adapters_is_repeated_by_the_seed() -> None:
    backbone, batch = make_backbone(torch.float64), make_batch(LENGTHS)
    add_adapters(backbone, dropout=0.5)
    encoder = BertEncoder(backbone, torch.float64, None)
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states = encoder.compute_states(batch)
        states.square().sum().backward()
        results.append((states.detach(), gradients(backbone)))
    (first, gradient), (again, gradient_again), (other, _) = results
    assert torch.equal(first, again)
    assert all(torch.equal(gradient[name], gradient_again[name]) for name in gradient)
    assert not torch.equal(first, other)
    with torch.no_grad():
        assert not torch.equal(encoder.compute_states(batch), first)


@pytest.mark.parametrize("lengths", [LENGTHS, [9, 64, 3, 64, 25, 9]])
def test_native_operations_change_no_more_than_rounding(
    kernels_folder: Path, lengths: list[int]
) -> None:
    """In bfloat16, gradients with and without them are as near as two orders of a sum."""
    results = []
    for kernels in (None, kernels_folder):
        backbone, batch = make_backbone(torch.float32), make_batch(lengths)
        states = BertEncoder(backbone, torch.bfloat16, kernels).compute_states(batch)
        states.square().sum().backward()
        results.append((states.detach(), gradients(backbone)))
    (states, first), (native_states, native) = results
    torch.testing.assert_close(native_states, states, rtol=0.05, atol=0.05)
    for name, gradient in first.items():
        if name.endswith("key.bias"):
            # Zero but for rounding: a number that is added to all scores changes no weight.
            continue
        difference = (native[name] - gradient).norm() / gradient.norm()
        assert difference < 0.05, name


@pytest.mark.parametrize("takes_any_dtype", [False, True])
def test_gradients_accumulate_until_they_are_reset(takes_any_dtype: bool) -> None:
    backbone = make_backbone(torch.float64)
    encoder = BertEncoder(backbone, torch.float64, None)
    for parameter in backbone.parameters():
        if takes_any_dtype and parameter.requires_grad:
            parameter.grad_dtype = None
    for lengths in (LENGTHS, [4, 8]):
        encoder.compute_states(make_batch(lengths)).square().sum().backward()
    both = gradients(backbone)
    for lengths in (LENGTHS, [4, 8]):
        encoder.compute_states(make_batch(lengths)).square().sum().backward()
        both = {name: both[name] - gradient for name, gradient in gradients(backbone).items()}
    assert all(float(rest.abs().max()) < 1e-9 for rest in both.values())


def test_optimizers_of_any_dtype_get_the_gradients_that_products_wrote() -> None:
    """Those of several passes are added up in the weights' dtype."""

    def compute(*, passes: int) -> dict[str, Tensor]:
        for _ in range(passes):
            encoder.compute_states(make_batch(LENGTHS)).square().sum().backward()
        return gradients(backbone)

    found = []
    for takes_any_dtype in (False, True):
        backbone = make_backbone(torch.float32)
        for parameter in backbone.parameters():
            if takes_any_dtype and parameter.requires_grad:
                parameter.grad_dtype = None
        encoder = BertEncoder(backbone, torch.bfloat16, None)
        found.append([compute(passes=1), compute(passes=2), compute(passes=1)])
        dtypes = [{gradient.dtype for gradient in of_passes.values()} for of_passes in found[-1]]
        once = torch.bfloat16 if takes_any_dtype else torch.float32
        assert dtypes == [{once}, {torch.float32}, {once}]
    for wide, narrow in zip(*found, strict=True):
        for name, gradient in wide.items():
            assert torch.equal(gradient, narrow[name].float()), name


def test_a_pass_that_is_computed_again_has_its_own_gradient() -> None:
    """Contrastive objectives keep the vectors of several parts, and compute each part again."""
    batches = [make_batch(LENGTHS), make_batch([4, 8])]

    def backward(*, recomputes: bool) -> dict[str, Tensor]:
        backbone = make_backbone(torch.float64)
        encoder = BertEncoder(backbone, torch.float64, None)
        if recomputes:
            states = [
                checkpoint(lambda b: encoder.compute_states(b).square(), batch, use_reentrant=False)
                for batch in batches
            ]
            (states[0].sum() + states[1].sum()).backward()
        else:
            for batch in batches:
                encoder.compute_states(batch).square().sum().backward()
        return gradients(backbone)

    expected = backward(recomputes=False)
    for name, gradient in backward(recomputes=True).items():
        torch.testing.assert_close(gradient, expected[name])


def test_a_pass_whose_memory_was_used_again_has_no_gradient() -> None:
    encoder = BertEncoder(make_backbone(torch.float64), torch.float64, None)
    states = encoder.compute_states(make_batch(LENGTHS))
    encoder.compute_states(make_batch([4, 8]))
    with pytest.raises(RuntimeError, match="used by another pass"):
        states.sum().backward()


def test_only_architectures_that_it_computes_are_supported() -> None:
    for config, expected in (
        (BertConfig(**SHAPE), True),
        (BertConfig(**SHAPE, hidden_act="relu"), False),
        (BertConfig(**SHAPE, is_decoder=True), False),
        (RobertaConfig(**SHAPE), False),
    ):
        assert bert.supports(AutoModel.from_config(config)) == expected, config
