"""Fused operations: gradients equal autograd's in float64, native ones equal torch's."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, rms_norm, scaled_dot_product_attention, silu

from tests.worker.training.fused_op_cases import F64, Case, leaf
from worker.training.attention_products import Heads
from worker.training.fused_ops import FusedOps, Rope, TorchFusedOps
from worker.training.native_fused_ops import NativeFusedOps, choose_fused_ops, find_kernels
from worker.training.workspace import Workspace

CPU = torch.device("cpu")


@pytest.fixture(params=["torch float64", "native float32", "native bfloat16"])
def ops_of_dtype(
    request: pytest.FixtureRequest, kernels_folder: Path
) -> tuple[FusedOps, torch.dtype]:
    kind, name = request.param.split()
    dtype: torch.dtype = getattr(torch, name)
    if kind == "torch":
        return TorchFusedOps(), dtype
    ops = choose_fused_ops(find_kernels(kernels_folder, dtype, CPU))
    if not isinstance(ops, NativeFusedOps):
        pytest.skip("this machine has no C compiler")
    return ops, dtype


@pytest.fixture
def case(ops_of_dtype: tuple[FusedOps, torch.dtype]) -> Case[FusedOps]:
    return Case(*ops_of_dtype)


@pytest.mark.parametrize("has_delta", [True, False])
def test_norms(case: Case[FusedOps], has_delta: bool) -> None:
    hidden, weight, upstream = case.random(21, 40), case.random(40), case.random(21, 40)
    delta = case.random(21, 40) if has_delta else None
    total = case.empty(21, 40) if has_delta else hidden
    x, inverse = case.empty(21, 40), torch.empty(21, dtype=case.wide)
    case.ops.add_norm(hidden, delta, weight, 1e-5, total, x, inverse)
    exact = hidden.to(F64) + (0 if delta is None else delta.to(F64))
    case.check(total, exact)
    inputs = leaf(total)
    normed = rms_norm(inputs, (40,), weight.to(F64), 1e-5)
    case.check(x, normed)
    normed.backward(upstream.to(F64))
    grad = case.random(21, 40)
    before = grad.to(F64, copy=True)
    case.ops.norm_backward(upstream, total, weight, inverse, grad)
    assert inputs.grad is not None
    case.check(grad, before + inputs.grad)


def test_swiglu(case: Case[FusedOps]) -> None:
    gate_up, upstream = case.random(13, 2 * 50), case.random(13, 50)
    out, again, grad = case.empty(13, 50), case.empty(13, 50), case.empty(13, 2 * 50)
    case.ops.swiglu(gate_up, out)
    case.ops.swiglu_backward(gate_up, upstream, grad, again)
    inputs = leaf(gate_up)
    gate, up = inputs.chunk(2, dim=-1)
    expected = silu(gate) * up
    expected.backward(upstream.to(F64))
    assert inputs.grad is not None
    case.check(out, expected)
    case.check(again, expected)
    case.check(grad, inputs.grad)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def test_heads_are_gathered_and_rotated(case: Case[FusedOps]) -> None:
    tokens, heads, rotated, size = 11, 5, 4, 8
    x = case.random(tokens * heads, size)
    angles = torch.rand(tokens, size // 2, dtype=case.wide) * 6
    rope = Rope(angles.cos(), angles.sin(), heads, rotated)
    index = torch.tensor([7, 0, -1, tokens * heads - 1, *range(tokens * heads)])
    inputs = leaf(x)
    by_token = inputs.view(tokens, heads, size)
    cos, sin = rope.cos.to(F64)[:, None], rope.sin.to(F64)[:, None]
    turned = torch.cat(
        [rotate(by_token[:, :rotated], cos, sin), by_token[:, rotated:]], dim=1
    ).flatten(0, 1)
    expected = torch.where(index[:, None] < 0, 0, turned[index])
    out = case.empty(len(index), size)
    case.ops.gather_heads(x, index, rope, out)
    case.check(out, expected)
    plain = case.empty(len(index), size)
    case.ops.gather_heads(x, index, None, plain)
    assert torch.equal(plain, torch.where(index[:, None] < 0, 0, x[index]))
    # Back from an order of which each head has one place.
    places = torch.randperm(tokens * heads)
    upstream = case.random(tokens * heads, size)
    turned.backward(upstream.to(F64)[places])
    grad = case.empty(tokens * heads, size)
    case.ops.gather_heads_back(upstream, places, rope, grad)
    assert inputs.grad is not None
    case.check(grad, inputs.grad)


def test_copies_are_summed_into_the_first(case: Case[FusedOps]) -> None:
    x = case.random(60, 20)
    places = torch.randperm(60)[:54].view(3, 9, 2)
    expected = x.to(F64)
    expected[places[0]] = expected[places].sum(0)
    case.ops.sum_copies(x, places)
    case.check(x, expected)
    # The sum is rounded once: 256 has no neighbour in bfloat16 that is less than 1 away.
    x = torch.tensor([256, *[0.5] * 8], dtype=case.dtype)[:, None].repeat(1, 16)
    case.ops.sum_copies(x, torch.arange(9)[:, None])
    assert x[0].tolist() == [260] * 16


@pytest.mark.parametrize("max_product_length", [0, 256])
# Rows within a tile of keys, that end with one, and that have several.
@pytest.mark.parametrize(
    ("rows", "num_heads", "kv_heads", "length", "head_dim"),
    [
        (1, 1, 1, 1, 32),
        (2, 4, 2, 19, 48),
        (1, 3, 3, 64, 64),
        (2, 6, 2, 150, 32),
        (1, 7, 1, 129, 16),
        (1, 2, 1, 256, 256),
        # Of sizes of heads that short attention leaves to torch's products.
        (2, 4, 2, 19, 24),
        (1, 1, 1, 40, 272),
    ],
)
def test_attention(
    case: Case[FusedOps],
    rows: int,
    num_heads: int,
    kv_heads: int,
    length: int,
    head_dim: int,
    max_product_length: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(NativeFusedOps, "max_product_length", max_product_length)
    q, grad = (case.random(rows, num_heads, length, head_dim) for _ in range(2))
    k, v = (case.random(rows, kv_heads, length, head_dim) for _ in range(2))
    # Padding at the end of the first row: its outputs have no gradient.
    grad[0, :, length - length // 8 :] = 0
    inputs = leaf(q), leaf(k), leaf(v)
    expected = scaled_dot_product_attention(*inputs, is_causal=True, enable_gqa=True)
    expected.backward(grad.to(F64))
    memory = Workspace(CPU)
    memory.empty(2**20, dtype=torch.float32).fill_(torch.nan)
    memory.release_all()
    out = case.empty(*q.shape)
    heads, grads = Heads(q, k, v), Heads(*(case.empty(*x.shape) for x in (q, k, v)))
    kept = case.ops.attend(heads, out, memory)
    case.check(out, expected)
    case.ops.attend_backward(heads, out, kept, grad, grads, memory)
    for found, of_input in zip(grads, inputs, strict=True):
        assert of_input.grad is not None
        case.check(found, of_input.grad)


@pytest.mark.parametrize("max_product_length", [0, 300])
def test_attention_has_the_same_bits_for_any_threads(
    kernels_folder: Path, max_product_length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NativeFusedOps, "max_product_length", max_product_length)
    ops = choose_fused_ops(find_kernels(kernels_folder, torch.bfloat16, CPU))
    if not isinstance(ops, NativeFusedOps):
        pytest.skip("this machine has no C compiler")
    q, grad = (torch.randn(2, 6, 300, 32).bfloat16() for _ in range(2))
    k, v = (torch.randn(2, 2, 300, 32).bfloat16() for _ in range(2))
    found, threads = [], torch.get_num_threads()
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            memory, out = Workspace(CPU), torch.empty_like(q)
            grads = Heads(*map(torch.empty_like, (q, k, v)))
            kept = ops.attend(Heads(q, k, v), out, memory)
            ops.attend_backward(Heads(q, k, v), out, kept, grad, grads, memory)
            found.append((out, *grads))
    finally:
        torch.set_num_threads(threads)
    assert all(map(torch.equal, *found))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy(case: Case[FusedOps], smoothing: float) -> None:
    logits = case.random(9, 70) * 4
    labels = torch.tensor([3, 69, 0, 5, 5, 6, 7, 8, 9])
    logits[3, 5] = 30
    inputs = leaf(logits)
    expected = cross_entropy(inputs, labels, reduction="none", label_smoothing=smoothing)
    expected.sum().backward()
    losses = torch.full((9,), torch.nan, dtype=case.wide)
    correct = torch.zeros(9, dtype=torch.bool)
    case.ops.cross_entropy(logits, labels, smoothing, losses, correct, has_gradient=True)
    torch.testing.assert_close(losses.to(F64), expected.detach(), rtol=1e-5, atol=1e-5)
    assert torch.equal(correct, inputs.argmax(-1) == labels)
    assert inputs.grad is not None
    case.check(logits, inputs.grad)


def test_torch_computes_where_there_are_no_kernels(tmp_path: Path) -> None:
    assert find_kernels(None, torch.bfloat16, CPU) is None
    assert find_kernels(tmp_path, F64, CPU) is None
    assert isinstance(choose_fused_ops(None), TorchFusedOps)
