"""Products with LoRA's matrices in native code, `worker/inference/native/lora_training.h`.

oneDNN takes several times as long for a product of rank 16 as for the same number of operations in
a large product, and layers with the same input have up to ten such products.
"""

import ctypes
from collections.abc import Callable
from ctypes import c_int64, c_void_p

import torch
from torch import Tensor

from worker.inference.native.library import Kernels
from worker.inference.native.structs import (
    MAX_LANES,
    MAX_PARTS,
    TrainedLora,
    TrainedPart,
    whole_vectors,
)
from worker.training.lora_products import LoraMatrices, LoraProducts, TorchLoraProducts
from worker.training.workspace import Workspace

WORD_BYTES = 4
# A pass of fewer products of two numbers is one thread's: it takes less time than to wake another.
MIN_SHARED_PRODUCTS = 2**21


class LoraKernels:
    """The native passes, and memory for the words in which they arrange the matrices."""

    def __init__(self, kernels: Kernels) -> None:
        self.dtype = kernels.dtype
        self._kernels = kernels
        self._words = torch.empty(0, dtype=torch.int32)
        self.forward = self._declare("lora_forward", 3)
        self.backward = self._declare("lora_backward", 5)
        self.backward_weights = self._declare("lora_backward_weights", 2)

    def supports(self, matrices: LoraMatrices) -> bool:
        """True for matrices of the kernels' dtype whose columns are whole vectors."""
        parts = matrices.parts
        columns = [part.columns.start for part in parts] + [part.columns.stop for part in parts]
        is_whole = all(size % MAX_LANES == 0 for size in (matrices.a.shape[1], *columns))
        return matrices.a.dtype == self.dtype and is_whole and len(parts) <= MAX_PARTS

    def _declare(self, name: str, num_pointers: int) -> Callable[..., None]:
        """Declare a function of threads, matrices, rows, tensors or None, and words."""
        pointers = [c_void_p] * (num_pointers + 1)
        run = self._kernels.declare(name, c_void_p, c_void_p, c_int64, *pointers)

        def call(lora: TrainedLora, num_words: int, rows: int, *tensors: Tensor | None) -> None:
            if len(self._words) < num_words:
                self._words = torch.empty(num_words, dtype=torch.int32)
            threads = self._kernels.get_threads()
            if rows * lora.width * (lora.input + lora.output) < MIN_SHARED_PRODUCTS:
                threads.count = 1
            run(
                *(ctypes.addressof(threads), ctypes.addressof(lora), rows),
                *(None if tensor is None else tensor.data_ptr() for tensor in tensors),
                self._words.data_ptr(),
            )

        return call


class NativeLoraProducts:
    """Implements `LoraProducts`; z has the ranks of each part, rounded up to whole words."""

    def __init__(self, kernels: LoraKernels, matrices: LoraMatrices, outputs: int) -> None:
        """`outputs`: those of all merged layers, some of which may have no adapter."""
        self._kernels = kernels
        # Its pointers are into these.
        self._matrices = matrices
        self._per_word = WORD_BYTES // matrices.a.itemsize
        parts, first_z = [], 0
        for part in matrices.parts:
            columns, rank = part.b.shape
            pointers = part.b.data_ptr(), part.b_gradient.data_ptr()
            start = part.columns.start
            parts.append(TrainedPart(*pointers, start, columns, part.ranks.start, rank, first_z))
            first_z += self._count_words(rank) * self._per_word
        self._lora = TrainedLora(
            *(matrices.a.data_ptr(), matrices.a_gradient.data_ptr(), matrices.a.shape[1], outputs),
            *(first_z, max(part.rank for part in parts), len(parts), matrices.scaling),
            (TrainedPart * MAX_PARTS)(*parts),
        )

    def _count_words(self, numbers: int) -> int:
        return -(-numbers // self._per_word)

    def _count_words_of_z(self, rows: int) -> int:
        width: int = self._lora.width
        return self._count_words(rows) * width

    def forward(self, x: Tensor, y: Tensor, memory: Workspace) -> Tensor:
        lora = self._lora
        z = memory.empty(len(x), lora.width, dtype=x.dtype)
        words = self._count_words(lora.input) * whole_vectors(lora.width)
        words += self._count_words(lora.max_rank) * lora.output
        self._kernels.forward(lora, words, len(x), x, y, z)
        return z

    def backward(
        self, grad: Tensor, z: Tensor, grad_x: Tensor | None, mask: Tensor | None, memory: Workspace
    ) -> Tensor:
        lora = self._lora
        dz = memory.empty(*z.shape, dtype=z.dtype)
        words = self._count_words(lora.width) * lora.input
        words += self._count_words(lora.output) * whole_vectors(lora.max_rank)
        words += self._count_words_of_z(len(z))
        self._kernels.backward(lora, words, len(z), grad, z, dz, grad_x, mask)
        return dz

    def backward_weights(self, dz: Tensor, x: Tensor) -> None:
        words = self._count_words_of_z(len(x))
        self._kernels.backward_weights(self._lora, words, len(x), x, dz)


def find_lora_kernels(kernels: Kernels | None) -> LoraKernels | None:
    """Return the products of LoRA, if there are kernels for this CPU that have them."""
    has_products = kernels is not None and kernels.has("lora_forward")
    return LoraKernels(kernels) if kernels is not None and has_products else None


def make_lora_products(
    matrices: LoraMatrices, outputs: int, kernels: LoraKernels | None
) -> LoraProducts:
    """Make native products if there are kernels that support the matrices, else torch's."""
    if kernels is None or not kernels.supports(matrices):
        return TorchLoraProducts(matrices)
    return NativeLoraProducts(kernels, matrices, outputs)
