"""Products with frozen weights, forward and backward: y = x · Wᵀ + bias and dx = dy · W."""

import ctypes
from ctypes import c_int64, c_void_p
from typing import Protocol

import torch
from torch import Tensor

from app.logs import get_logger
from worker.inference.native.library import Kernels
from worker.inference.native.structs import BLOCK, PANEL
from worker.training.nf4 import Nf4Weight

log = get_logger(__name__)


class FrozenProduct(Protocol):
    """Products with a frozen matrix."""

    def forward(self, x: Tensor, out: Tensor) -> None:
        """out [T, out] = x [T, in] · Wᵀ + bias"""
        ...

    def backward(self, grad: Tensor, grad_x: Tensor) -> None:
        """grad_x [T, in] = grad [T, out] · W"""
        ...


class MatrixProduct:
    """Implements `FrozenProduct` by torch, in the dtype of its operands."""

    def __init__(self, weight: Tensor | Nf4Weight, bias: Tensor | None) -> None:
        self._weight, self._bias = weight, bias

    def forward(self, x: Tensor, out: Tensor) -> None:
        # Quantized, or of another dtype where a model computes in float32; else the same tensor.
        weight = self._weight.to(x.dtype)
        if self._bias is None:
            torch.mm(x, weight.T, out=out)
        else:
            torch.addmm(self._bias.to(x.dtype), x, weight.T, out=out)

    def backward(self, grad: Tensor, grad_x: Tensor) -> None:
        torch.mm(grad, self._weight.to(grad.dtype), out=grad_x)


class Int8Kernels:
    """Products of bfloat16 that native code computes in int8, `hadamard_product.h`."""

    BYTES_OF_BLOCK = 8 + BLOCK
    BYTES_OF_WEIGHTS = 4 * PANEL + PANEL * BLOCK

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels
        sizes = [c_int64] * 3
        self._product = kernels.declare("hadamard_product", c_void_p, *sizes, *[c_void_p] * 5)
        self._pack = kernels.declare("pack_hadamard", c_void_p, *sizes[:2], c_void_p, c_void_p)
        # Memory of quantized inputs, of the largest product until now.
        self._blocks = torch.empty(0, dtype=torch.uint8)
        # Shapes of which the log says that they are not supported, once for all layers.
        self.reported: set[torch.Size] = set()

    def supports(self, weight: Tensor) -> bool:
        """True if the matrix consists of whole blocks, of its rows and of its columns."""
        # Each size is that of inputs in one pass, and of outputs in the other.
        return all(size % PANEL == size % BLOCK == 0 for size in weight.shape)

    def pack(self, weight: Tensor) -> Tensor:
        """Quantize a matrix [out, in] in bfloat16: bytes [panels, blocks, bytes of both]."""
        weight = weight.contiguous()
        outputs, inputs = weight.shape
        shape = outputs // PANEL, inputs // BLOCK, self.BYTES_OF_WEIGHTS
        panels = torch.empty(shape, dtype=torch.uint8)
        threads = self._kernels.get_threads()
        pointers = weight.data_ptr(), panels.data_ptr()
        self._pack(ctypes.addressof(threads), outputs, inputs, *pointers)
        return panels

    def multiply(self, x: Tensor, panels: Tensor, bias: Tensor | None, out: Tensor) -> None:
        """out [T, out] = x [T, in] · Wᵀ + bias, of contiguous matrices and a bias in float32."""
        rows, inputs = x.shape
        size = rows * (inputs // BLOCK) * self.BYTES_OF_BLOCK
        if len(self._blocks) < size:
            self._blocks = torch.empty(size, dtype=torch.uint8)
        threads = self._kernels.get_threads()
        self._product(
            ctypes.addressof(threads),
            *(rows, inputs, out.shape[1]),
            panels.data_ptr(),
            None if bias is None else bias.data_ptr(),
            *(tensor.data_ptr() for tensor in (x, self._blocks, out)),
        )


class Int8Product:
    """Implements `FrozenProduct` by int8 of blocks; bfloat16 rounds a fourth as much.

    The weights themselves are used where something is computed in float32, and not read otherwise:
    where they are pages of a file, they take no memory.
    """

    def __init__(self, kernels: Int8Kernels, weight: Tensor, bias: Tensor | None) -> None:
        self._kernels = kernels
        self._forward_panels = kernels.pack(weight)
        self._backward_panels = kernels.pack(weight.T)
        self._bias = None if bias is None else bias.float()
        self._exact = MatrixProduct(weight, bias)

    def forward(self, x: Tensor, out: Tensor) -> None:
        if x.dtype == torch.bfloat16:
            self._kernels.multiply(x, self._forward_panels, self._bias, out)
        else:
            self._exact.forward(x, out)

    def backward(self, grad: Tensor, grad_x: Tensor) -> None:
        if grad.dtype == torch.bfloat16:
            self._kernels.multiply(grad, self._backward_panels, None, grad_x)
        else:
            self._exact.backward(grad, grad_x)


def find_int8(kernels: Kernels | None) -> Int8Kernels | None:
    """Return the products in int8, if this processor multiplies bytes and has kernels that do."""
    if kernels is None:
        log_unused_int8("there are no native kernels for this device and dtype")
        return None
    if not kernels.has("hadamard_product"):
        log_unused_int8("the processor does not multiply bytes as the kernels need it")
        return None
    return Int8Kernels(kernels)


def log_unused_int8(reason: str) -> None:
    """Tell the operator, who has set LUTHIER_TRAINING_INT8, that a job does without."""
    log.warning("training.int8_unused", reason=reason)


def make_product(
    weight: Tensor | Nf4Weight, bias: Tensor | None, int8: Int8Kernels | None = None
) -> FrozenProduct:
    """Make the product with a matrix [out, in], in int8 if there are kernels that support it."""
    if int8 is None or not isinstance(weight, Tensor):
        return MatrixProduct(weight, bias)
    if not int8.supports(weight):
        if weight.shape in int8.reported:
            return MatrixProduct(weight, bias)
        int8.reported.add(weight.shape)
        log_unused_int8(f"a weight of {list(weight.shape)} does not consist of blocks of {BLOCK}")
        return MatrixProduct(weight, bias)
    return Int8Product(int8, weight, bias)
