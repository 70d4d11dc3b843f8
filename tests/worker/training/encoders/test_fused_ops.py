"""Fused operations of encoders: gradients equal autograd's in float64, native ones torch's."""

from itertools import accumulate
from pathlib import Path

import pytest
import torch
from torch.nn.functional import gelu, layer_norm, scaled_dot_product_attention

from tests.worker.training.fused_op_cases import Case, leaf
from worker.training import native_fused_ops
from worker.training.encoders.fused_ops import (
    EncoderOps,
    NativeEncoderOps,
    TorchEncoderOps,
    choose_encoder_ops,
)
from worker.training.native_fused_ops import find_kernels

CPU = torch.device("cpu")
F64 = torch.float64


@pytest.fixture(params=["torch float64", "torch bfloat16", "native float32", "native bfloat16"])
def case(request: pytest.FixtureRequest, kernels_folder: Path) -> Case[EncoderOps]:
    kind, name = request.param.split()
    dtype: torch.dtype = getattr(torch, name)
    if kind == "torch":
        return Case(TorchEncoderOps(), dtype)
    ops = choose_encoder_ops(find_kernels(kernels_folder, dtype, CPU))
    if not isinstance(ops, NativeEncoderOps):
        pytest.skip("this machine has no C compiler")
    return Case(ops, dtype)


def test_layer_norms(case: Case[EncoderOps]) -> None:
    rows, width, wide = 21, 150, case.wide
    hidden, delta, upstream = (case.random(rows, width) for _ in range(3))
    weight, bias = (case.random(width).to(wide) for _ in range(2))
    total, x = case.empty(rows, width), case.empty(rows, width)
    mean, inverse = (torch.empty(rows, dtype=wide) for _ in range(2))
    case.ops.add_layer_norm(hidden, delta, weight, bias, 1e-5, total, x, mean, inverse)
    case.check(total, hidden.to(F64) + delta.to(F64))
    inputs, weights, biases = leaf(total), leaf(weight), leaf(bias)
    normed = layer_norm(inputs, (width,), weights, biases, 1e-5)
    case.check(x, normed)
    normed.backward(upstream.to(F64))
    grad, sums = case.empty(rows, width), torch.empty(2, width, dtype=wide)
    case.ops.layer_norm_backward(upstream, total, weight, mean, inverse, grad)
    case.ops.layer_norm_weight_backward(upstream, total, mean, inverse, sums[0], sums[1])
    assert inputs.grad is not None
    assert weights.grad is not None
    assert biases.grad is not None
    case.check(grad, inputs.grad)
    case.check(sums, torch.stack([weights.grad, biases.grad]))


def test_gelu(case: Case[EncoderOps]) -> None:
    x, upstream = case.random(13, 50) * 2, case.random(13, 50)
    x[0, :4] = torch.tensor([0.0, -20.0, 20.0, -3.0])
    out, again, grad = case.empty(13, 50), case.empty(13, 50), case.empty(13, 50)
    case.ops.gelu(x, out)
    case.ops.gelu_backward(x, upstream, grad, again)
    inputs = leaf(x)
    expected = gelu(inputs)
    expected.backward(upstream.to(F64))
    assert inputs.grad is not None
    case.check(out, expected)
    case.check(again, expected)
    case.check(grad, inputs.grad)


def test_softmax_sees_the_tokens_of_its_text_alone(case: Case[EncoderOps]) -> None:
    lengths, heads, length = torch.tensor([1, 7, 19]), 2, 19
    scores, upstream = (case.random(3 * heads, length, length) for _ in range(2))
    inputs = leaf(scores)
    unseen = (torch.arange(length) >= lengths.repeat_interleave(heads)[:, None])[:, None]
    expected = (inputs * 0.3).masked_fill(unseen, -torch.inf).softmax(-1)
    case.ops.masked_softmax(scores, lengths, 0.3)
    case.check(scores, expected)
    assert not scores[unseen.expand_as(scores)].any()
    expected.backward(upstream.to(F64))
    case.ops.softmax_backward(scores, upstream, 0.3)
    assert inputs.grad is not None
    case.check(upstream, inputs.grad)


@pytest.mark.parametrize("head_dim", [32, 20])
def test_short_texts_attend_within_the_stream(case: Case[EncoderOps], head_dim: int) -> None:
    if not isinstance(case.ops, NativeEncoderOps):
        pytest.skip("texts are padded without native code")
    lengths, heads = [1, 7, 16, 17, case.ops.max_text_length], 3
    bounds, num_tokens = torch.tensor([0, *accumulate(lengths)]), sum(lengths)
    qkv, upstream = (
        case.random(num_tokens, 3 * heads * head_dim),
        case.random(num_tokens, heads * head_dim),
    )
    out, grad = case.empty(*upstream.shape), case.empty(*qkv.shape)
    case.ops.attend_texts(qkv, bounds, heads, head_dim, out)
    case.ops.attend_texts_backward(qkv, upstream, bounds, heads, head_dim, grad)
    inputs = leaf(qkv)
    # [heads, length, head_dim] of each text.
    parts = [
        text.view(len(text), 3, heads, -1).permute(1, 2, 0, 3) for text in inputs.split(lengths)
    ]
    attended = [scaled_dot_product_attention(*part).transpose(0, 1).flatten(1) for part in parts]
    expected = torch.cat(attended)
    expected.backward(upstream.to(F64))
    assert inputs.grad is not None
    case.check(out, expected)
    case.check(grad, inputs.grad)


def test_columns_are_summed_in_float32(case: Case[EncoderOps]) -> None:
    grad, sums = case.random(300, 130), torch.empty(130, dtype=case.wide)
    case.ops.sum_columns(grad, sums)
    torch.testing.assert_close(sums.to(F64), grad.to(F64).sum(0), rtol=1e-4, atol=1e-4)


def test_sums_do_not_depend_on_the_number_of_threads(
    kernels_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ops = choose_encoder_ops(find_kernels(kernels_folder, torch.float32, CPU))
    if not isinstance(ops, NativeEncoderOps):
        pytest.skip("this machine has no C compiler")
    grad, (one, shared) = torch.randn(300, 1000), torch.empty(2, 1000)
    ops.sum_columns(grad, one)
    monkeypatch.setattr(native_fused_ops, "MIN_SHARED_NUMBERS", 0)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        ops.sum_columns(grad, shared)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(one, shared)
