"""Products in int8: the exact sums of what was quantized, whatever is computed beside them."""

from pathlib import Path

import pytest
import torch
from structlog.testing import capture_logs
from torch import Tensor, nn

from worker.inference.native import build
from worker.inference.native.library import load_kernels
from worker.training.frozen_product import (
    Int8Kernels,
    Int8Product,
    MatrixProduct,
    find_int8,
    make_product,
)

BF16, F64 = torch.bfloat16, torch.float64


def compute_hadamard(size: int) -> Tensor:
    matrix = torch.ones(1, 1, dtype=F64)
    while len(matrix) < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix


def quantize(x: Tensor) -> Tensor:
    """Values of blocks, after the Hadamard transform, that int8 and a scale in float32 can have."""
    blocks = (x.to(F64).unflatten(1, (-1, 32)) @ compute_hadamard(32)).float()
    most = blocks.abs().amax(-1, keepdim=True)
    values = (blocks * torch.where(most > 0, 127 / most, 0)).round()
    return (values.to(F64) * (most / 127)).flatten(1)


@pytest.fixture
def int8(kernels_folder: Path) -> Int8Kernels:
    kernels = find_int8(load_kernels(kernels_folder, BF16))
    if kernels is None:
        pytest.skip("this machine has no C compiler, or no instructions for products of bytes")
    return kernels


def make_layers(inputs: int, *outputs: int, bias: bool = False) -> list[nn.Linear]:
    torch.manual_seed(0)
    return [
        nn.Linear(inputs, size, bias=bias, dtype=BF16).requires_grad_(False) for size in outputs
    ]


def make_rows(rows: int, size: int) -> Tensor:
    """Rows with some inputs that are a hundred times as large as the others, and with zeros."""
    x = torch.randn(rows, size, generator=torch.Generator().manual_seed(1))
    x[:, ::37] *= 100
    x[:, -32:] = 0
    return x.to(BF16)


def make_int8(int8: Int8Kernels, layers: list[nn.Linear]) -> Int8Product:
    return Int8Product(int8, *merge(layers))


def merge(layers: list[nn.Linear]) -> tuple[Tensor, Tensor | None]:
    weight = torch.cat([layer.weight for layer in layers])
    has_bias = layers[0].bias is not None
    return weight, torch.cat([layer.bias for layer in layers]) if has_bias else None


def forward(product: Int8Product | MatrixProduct, x: Tensor, outputs: int) -> Tensor:
    out = torch.full((len(x), outputs), torch.nan, dtype=x.dtype)
    product.forward(x, out)
    return out


@pytest.mark.parametrize("rows", [1, 7, 16, 397])
@pytest.mark.parametrize("bias", [False, True])
def test_products_equal_the_sums_of_the_quantized_values(
    int8: Int8Kernels, rows: int, bias: bool
) -> None:
    layers = make_layers(96, 64, 32, 32, bias=bias)
    product = make_int8(int8, layers)
    weight = torch.cat([layer.weight for layer in layers])
    x, grad = make_rows(rows, 96), make_rows(rows, 128)
    expected = quantize(x) @ quantize(weight).T / 32
    if bias:
        expected += torch.cat([layer.bias for layer in layers])
    found = forward(product, x, 128)
    torch.testing.assert_close(found.to(F64), expected, rtol=2**-8, atol=1e-4)
    grad_x = torch.full_like(x, torch.nan)
    product.backward(grad, grad_x)
    expected = quantize(grad) @ quantize(weight.T).T / 32
    torch.testing.assert_close(grad_x.to(F64), expected, rtol=2**-8, atol=1e-4)


def test_products_are_near_to_exact_ones(int8: Int8Kernels) -> None:
    layers = make_layers(576, 960)
    x = make_rows(64, 576)
    exact = x.to(F64) @ layers[0].weight.to(F64).T
    error = (forward(make_int8(int8, layers), x, 960) - exact).norm() / exact.norm()
    assert error < 0.012


def test_rows_have_the_same_bits_in_any_batch_and_by_any_number_of_threads(
    int8: Int8Kernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers, x = make_layers(96, 64), make_rows(500, 96)
    product = make_int8(int8, layers)
    together = forward(product, x, 64)
    for first, last in ((0, 1), (3, 8), (190, 199), (400, 500)):
        alone = forward(product, x[first:last].contiguous(), 64)
        assert torch.equal(alone, together[first:last])
    threads = torch.get_num_threads()
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        try:
            assert torch.equal(forward(make_int8(int8, layers), x, 64), together)
        finally:
            torch.set_num_threads(threads)


def test_it_is_told_which_products_are_not_in_int8(int8: Int8Kernels) -> None:
    with capture_logs() as lines:
        assert isinstance(make_product(torch.zeros(32, 64, dtype=BF16), None, int8), Int8Product)
        assert isinstance(make_product(torch.zeros(32, 48, dtype=BF16), None, int8), MatrixProduct)
        assert find_int8(None) is None
    shape, kernels = [line["reason"] for line in lines if line["event"] == "training.int8_unused"]
    assert "[32, 48]" in shape
    assert "no native kernels" in kernels


@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_so(int8: Int8Kernels, number: float) -> None:
    x = make_rows(9, 96)
    x[4, 40] = number
    found = forward(make_int8(int8, make_layers(96, 64)), x, 64).isfinite()
    assert not found[4].any()
    assert found[[0, 1, 2, 3, 5, 6, 7, 8]].all()


def test_float32_is_computed_with_the_weights_themselves(int8: Int8Kernels) -> None:
    layers = make_layers(96, 64, 32, bias=True)
    x = make_rows(9, 96).float()
    found = forward(make_int8(int8, layers), x, 96)
    assert torch.equal(found, forward(MatrixProduct(*merge(layers)), x, 96))


def test_sizes_that_are_not_of_whole_blocks_are_multiplied_by_torch(int8: Int8Kernels) -> None:
    assert isinstance(make_product(*merge(make_layers(96, 64, 32)), int8), Int8Product)
    for layers in (make_layers(80, 64), make_layers(96, 64, 16)):
        assert isinstance(make_product(*merge(layers), int8), MatrixProduct)
    assert isinstance(make_product(*merge(make_layers(96, 64))), MatrixProduct)


def test_processors_without_products_of_bytes_have_none(
    tmp_path: Path, kernels_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_int8(None) is None
    kernels = load_kernels(kernels_folder, torch.float32)
    if kernels is None:
        pytest.skip("this machine has no C compiler")
    assert find_int8(kernels) is None
    monkeypatch.setattr(build, "detect_level", lambda: build.BASELINE)
    kernels = load_kernels(tmp_path, BF16)
    assert kernels is not None
    assert find_int8(kernels) is None
