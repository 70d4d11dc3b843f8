"""Products with LoRA's matrices: autograd's in float64, with the same bits for any threads."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from tests.worker.training.fused_op_cases import F64, TOLERANCES
from worker.inference.native import build
from worker.inference.native.library import load_kernels
from worker.training.lora_products import LoraMatrices, LoraPart, LoraProducts, TorchLoraProducts
from worker.training.native_lora_products import (
    LoraKernels,
    NativeLoraProducts,
    find_lora_kernels,
    make_lora_products,
)
from worker.training.workspace import Workspace

CPU = torch.device("cpu")
SCALING = 1.7


class Shape(NamedTuple):
    """Sizes of merged layers: inputs, outputs of each, and the rank of its adapter, or 0."""

    inputs: int
    outputs: Sequence[int]
    ranks: Sequence[int]


SHAPES = [
    Shape(32, [16], [1]),
    Shape(48, [64, 16], [16, 16]),
    Shape(176, [80, 16, 48], [7, 0, 20]),
    Shape(64, [32, 160, 16], [8, 4, 33]),
    Shape(32, [16, 8], [2, 0]),
]


@pytest.fixture(params=["torch float64", "own float32", "own bfloat16", "x86-64-v3 float32"])
def implementation(
    request: pytest.FixtureRequest, kernels_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[LoraKernels | None, torch.dtype]:
    """Kernels for this CPU, and for one with shorter vectors; or none."""
    kind, name = request.param.split()
    dtype: torch.dtype = getattr(torch, name)
    if kind == "torch":
        return None, dtype
    if kind != "own":
        own = build.detect_level()
        level = next(level for level in build.X86_LEVELS if level.name == kind)
        if not level.cpu_flags <= own.cpu_flags:
            pytest.skip("this CPU has no such vectors")
        monkeypatch.setattr(build, "detect_level", lambda: level)
    kernels = find_lora_kernels(load_kernels(kernels_folder, dtype))
    if kernels is None:
        pytest.skip("this machine has no C compiler, or a CPU without AVX2")
    return kernels, dtype


class Case:
    """Random matrices and rows of a shape, of which native code gets memory full of NaN."""

    def __init__(self, shape: Shape, rows: int, dtype: torch.dtype) -> None:
        self._generator = torch.Generator().manual_seed(rows)
        self.dtype, self.shape = dtype, shape
        total = sum(shape.outputs)
        self.x, self.mask = self.random(rows, shape.inputs), self.random(rows, shape.inputs)
        self.y, self.grad = self.random(rows, total), self.random(rows, total)
        self.grad_x = self.random(rows, shape.inputs)
        a = self.random(sum(shape.ranks), shape.inputs)
        columns = pairwise(accumulate(shape.outputs, initial=0))
        ranks = pairwise(accumulate(shape.ranks, initial=0))
        parts = []
        for of_columns, of_ranks in zip(columns, ranks, strict=True):
            b = self.random(of_columns[1] - of_columns[0], of_ranks[1] - of_ranks[0])
            if b.numel():
                places = slice(*of_columns), slice(*of_ranks)
                parts.append(LoraPart(*places, b, torch.full_like(b, torch.nan)))
        self.matrices = LoraMatrices(a, torch.full_like(a, torch.nan), parts, SCALING)

    def random(self, *shape: int) -> Tensor:
        """Random numbers, after which memory has NaN."""
        rows, *rest = shape
        numbers = torch.randn(rows + 1, *rest, generator=self._generator, dtype=F64)
        numbers[rows] = torch.nan
        return numbers.to(self.dtype)[:rows]

    def make_products(self, kernels: LoraKernels | None) -> LoraProducts:
        products = make_lora_products(self.matrices, sum(self.shape.outputs), kernels)
        assert isinstance(products, TorchLoraProducts if kernels is None else NativeLoraProducts)
        if kernels is not None:
            kernels._words = torch.full((2**16,), torch.nan).view(torch.int32)
        return products

    def compute(
        self, products: LoraProducts, *, needs_grad_x: bool = True, has_mask: bool = False
    ) -> list[Tensor]:
        """y, the gradients of A and of the B's, and that of x if it is needed."""
        memory = Workspace(CPU)
        memory.empty(2**20, dtype=torch.float32).fill_(torch.nan)
        memory.release_all()
        x, mask = self.x, self.mask if has_mask else None
        x = x if mask is None else x * mask
        y, grad_x = self.y.clone(), self.grad_x.clone() if needs_grad_x else None
        z = products.forward(x, y, memory)
        dz = products.backward(self.grad, z, grad_x, mask, memory)
        products.backward_weights(dz, x)
        found = [y, self.matrices.a_gradient, *(part.b_gradient for part in self.matrices.parts)]
        return found if grad_x is None else [*found, grad_x]

    def compute_by_autograd(self, *, has_mask: bool = False) -> list[Tensor]:
        x = self.x.to(F64).requires_grad_()
        dropped = x * self.mask.to(F64) if has_mask else x
        # Rounded as the inputs of a product are.
        dropped = dropped + (dropped.detach().to(self.dtype).to(F64) - dropped.detach())
        a = self.matrices.a.to(F64).requires_grad_()
        b = [part.b.to(F64).requires_grad_() for part in self.matrices.parts]
        y = self.y.to(F64)
        added = torch.zeros_like(y)
        for part, of_part in zip(self.matrices.parts, b, strict=True):
            added[:, part.columns] = SCALING * dropped @ a[part.ranks].T @ of_part.T
        added.backward(self.grad.to(F64))
        gradients = [each.grad for each in (a, *b, x) if each.grad is not None]
        gradients[-1] += self.grad_x
        return [(y + added).detach(), *gradients]


def check(found: Sequence[Tensor], expected: Sequence[Tensor], dtype: torch.dtype) -> None:
    for of_found, of_expected in zip(found, expected, strict=True):
        # Sums of products with z, which is rounded, may cancel.
        scale = float(of_expected.abs().max())
        torch.testing.assert_close(
            of_found.to(F64), of_expected, rtol=TOLERANCES[dtype], atol=TOLERANCES[dtype] * scale
        )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rows", [1, 23, 130])
@pytest.mark.parametrize("has_mask", [False, True])
def test_results_are_those_of_autograd(
    implementation: tuple[LoraKernels | None, torch.dtype], shape: Shape, rows: int, has_mask: bool
) -> None:
    kernels, dtype = implementation
    case = Case(shape, rows, dtype)
    found = case.compute(case.make_products(kernels), has_mask=has_mask)
    check(found, case.compute_by_autograd(has_mask=has_mask), dtype)


def test_the_first_layer_needs_no_gradient_of_its_input(
    implementation: tuple[LoraKernels | None, torch.dtype],
) -> None:
    kernels, dtype = implementation
    case = Case(SHAPES[1], 30, dtype)
    found = case.compute(case.make_products(kernels), needs_grad_x=False)
    check(found, case.compute_by_autograd()[:-1], dtype)


def test_bits_are_the_same_for_any_threads_and_rows_beside(
    implementation: tuple[LoraKernels | None, torch.dtype],
) -> None:
    kernels, dtype = implementation
    if kernels is None:
        pytest.skip("torch's products may depend on them")
    case = Case(SHAPES[2], 130, dtype)
    products = case.make_products(kernels)
    found, threads = [], torch.get_num_threads()
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            found.append([each.clone() for each in case.compute(products)])
    finally:
        torch.set_num_threads(threads)
    assert all(map(torch.equal, *found))
    alone = case.y[77:78].clone()
    products.forward(case.x[77:78], alone, Workspace(CPU))
    assert torch.equal(alone[0], found[0][0][77])


def test_torch_multiplies_other_dtypes_and_columns_that_are_not_whole_vectors(
    kernels_folder: Path,
) -> None:
    native = find_lora_kernels(load_kernels(kernels_folder, torch.float32))
    if native is None:
        pytest.skip("this machine has no C compiler, or a CPU without AVX2")
    assert native.supports(Case(SHAPES[1], 1, torch.float32).matrices)
    assert not native.supports(Case(SHAPES[1], 1, torch.bfloat16).matrices)
    for shape in (Shape(40, [16], [2]), Shape(32, [24, 16], [2, 2]), Shape(32, [8, 16], [0, 2])):
        assert not native.supports(Case(shape, 1, torch.float32).matrices)
    assert not native.supports(Case(Shape(32, [16] * 4, [2] * 4), 1, torch.float32).matrices)


def test_cpus_with_short_vectors_have_none(
    kernels_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_lora_kernels(None) is None
    monkeypatch.setattr(build, "detect_level", lambda: build.BASELINE)
    assert find_lora_kernels(load_kernels(kernels_folder, torch.float32)) is None
