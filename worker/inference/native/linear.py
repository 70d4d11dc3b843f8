"""Linear layers of native kernels: weights packed as `product.h` reads them."""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from worker.inference.llama_weights import concatenate
from worker.inference.native.huge_pages import HugePages
from worker.inference.native.library import Kernels
from worker.inference.native.structs import BLOCK, PANEL, Matrix, RowBlock
from worker.inference.quantization import QuantizedWeight, quantize


class NativeLinear:
    """x·Wᵀ + b of one or more concatenated weights, in float32.

    A row's result depends on nothing but the row: not on the batch, nor on the number of threads.
    """

    def __init__(
        self,
        kernels: Kernels,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor | None],
        *,
        is_int8: bool = False,
        memory: HugePages | None = None,
    ) -> None:
        """`memory` is where the packed weights are kept, by default their own."""
        weight, bias = concatenate(weights, biases)
        self._kernels = kernels
        self.out_features, self.in_features = weight.shape
        padded = _pad(weight)
        panels = _pack_int8(quantize(padded)) if is_int8 else _pack(padded)
        self._panels = (memory or HugePages()).copy(panels)
        self._bias = None if bias is None else pad(bias.float(), (0, -len(bias) % PANEL))
        outputs, self.padded_inputs = padded.shape
        self.matrix = Matrix(
            self._panels.data_ptr(),
            None if self._bias is None else self._bias.data_ptr(),
            self.padded_inputs,
            outputs,
            is_int8,
        )

    def __call__(self, x: Tensor) -> Tensor:
        x = _align(x, self.padded_inputs)
        out = torch.empty(len(x), self.matrix.output)
        blocks = make_blocks(len(x), self.padded_inputs) if self.matrix.is_int8 else None
        # A name, for an address does not keep what it points at.
        threads = self._kernels.get_threads()
        self._kernels.product(
            ctypes.addressof(threads),
            ctypes.addressof(self.matrix),
            x.data_ptr(),
            None if blocks is None else blocks.data_ptr(),
            out.data_ptr(),
            len(x),
        )
        return out[:, : self.out_features]

    def read_rows(self, outputs: Sequence[int]) -> Tensor:
        """Read the weights [outputs, in] of some outputs, which are not int8.

        Raises IndexError if there is no such output.
        """
        for output in (min(outputs), max(outputs)):
            if not 0 <= output < self.out_features:
                raise IndexError(f"there are {self.out_features} outputs, no output {output}")
        index = torch.tensor(outputs)
        # [panels, words, 32 outputs]
        words = self._panels.view(torch.int32).squeeze(-1)
        rows: Tensor = words[index // PANEL, :, index % PANEL].view(self._panels.dtype)
        return rows[:, : self.in_features].contiguous()


def make_blocks(rows: int, inputs: int) -> Tensor:
    """Memory for the quantized inputs of a product."""
    return torch.empty(rows * (inputs // BLOCK) * ctypes.sizeof(RowBlock), dtype=torch.uint8)


def _align(x: Tensor, padded_inputs: int) -> Tensor:
    """Pad rows with zeros, which a view of padded rows already has behind them."""
    if x.stride() == (padded_inputs, 1):
        return x
    return pad(x, (0, padded_inputs - x.shape[1])).contiguous()


def _pad(weight: Tensor) -> Tensor:
    """Pad with zeros to whole panels of outputs, and of inputs."""
    outputs, inputs = weight.shape
    return pad(weight, (0, -inputs % PANEL, 0, -outputs % PANEL))


def _pack(weight: Tensor) -> Tensor:
    """[out, in] → [panels, words, 32 outputs, inputs per word]"""
    per_word = 4 // weight.itemsize
    panels = weight.unflatten(1, (-1, per_word)).unflatten(0, (-1, PANEL))
    view: Tensor = panels.permute(0, 2, 1, 3)
    return view


def _pack_int8(weight: QuantizedWeight) -> Tensor:
    """[panels, blocks, bytes]: scales of 32 outputs, then [8 quads, 32 outputs, 4 inputs]"""
    values = (weight.values.to(torch.int16) + 128).to(torch.uint8)
    quads = values.unflatten(2, (-1, 4)).unflatten(0, (-1, PANEL)).permute(0, 2, 3, 1, 4)
    scales = weight.scales.unflatten(0, (-1, PANEL)).transpose(1, 2).contiguous()
    return torch.cat([scales.view(torch.uint8), quads.flatten(2)], dim=2)
