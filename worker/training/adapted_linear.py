"""Frozen linear layers with LoRA, and their gradients, as matrix products into given memory.

y = x · Wᵀ + bias + LoRA(dropout(x))     dx = dy · W + dropout(dz · A)

`frozen_product` multiplies with W, `lora_products` with LoRA's A and B.
"""

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from worker.training.frozen_product import Int8Kernels, make_product
from worker.training.lora import find_adapter, get_base_layer
from worker.training.lora_products import LoraMatrices, LoraPart, LoraProducts
from worker.training.native_lora_products import LoraKernels, make_lora_products
from worker.training.nf4 import Nf4Linear, Nf4Weight
from worker.training.workspace import Workspace


class TrainedLayer(Protocol):
    """A layer whose parameters have places in `FlatWeights`."""

    parameters: list[nn.Parameter]

    def bind(self, values: Tensor, gradient: Tensor) -> None:
        """Use values and write gradients at these flat places, in the order of `parameters`."""
        ...


class FlatWeights:
    """All trained weights in one tensor, of which the parameters are views.

    Layers compute with a copy in a dtype of their own, and write their gradients in that dtype.
    """

    def __init__(self, layers: Sequence[TrainedLayer], dtype: torch.dtype) -> None:
        self.parameters = [parameter for layer in layers for parameter in layer.parameters]
        self.values = torch.cat([parameter.data.flatten() for parameter in self.parameters])
        for parameter, view in zip(self.parameters, self._split(self.values), strict=True):
            parameter.data = view
        # Gradients in the parameters' dtype, where that is needed.
        self._wide: Tensor | None = None
        self.bind(layers, dtype)

    def bind(self, layers: Sequence[TrainedLayer], dtype: torch.dtype) -> None:
        """Have the layers compute in `dtype`."""
        self._rounded = self.values.to(dtype, copy=True)
        self._gradient = torch.empty_like(self._rounded)
        self._gradient_views = self._split(self._gradient)
        sizes = [sum(p.numel() for p in layer.parameters) for layer in layers]
        places = zip(self._rounded.split(sizes), self._gradient.split(sizes), strict=True)
        for layer, place in zip(layers, places, strict=True):
            layer.bind(*place)

    def begin_forward(self) -> None:
        """Round the weights, which a step may have changed, for the layers."""
        self._rounded.copy_(self.values)

    def begin_backward(self) -> None:
        """Keep gradients of earlier passes, before the layers write those of another one."""
        grad = self.parameters[0].grad
        if grad is not None and grad.data_ptr() == self._gradient.data_ptr():
            self._set_wide_gradients()

    def end_backward(self) -> None:
        """Add to the parameters' gradients, which an optimizer has set to None after its step."""
        first = self.parameters[0]
        if first.grad is not None and self._wide is not None:
            self._wide.add_(self._gradient)
        elif first.grad_dtype is None:
            # The optimizer takes any dtype.
            self._set_gradients(self._gradient_views)
        else:
            self._set_wide_gradients()

    def _set_wide_gradients(self) -> None:
        if self._wide is None:
            self._wide = torch.empty_like(self.values)
        self._set_gradients(self._split(self._wide.copy_(self._gradient)))

    def _set_gradients(self, views: Sequence[Tensor]) -> None:
        for parameter, view in zip(self.parameters, views, strict=True):
            parameter.grad = view

    def _split(self, flat: Tensor) -> list[Tensor]:
        """Make views of the parameters' shapes."""
        parts = flat.split([parameter.numel() for parameter in self.parameters])
        return [part.view_as(p) for part, p in zip(parts, self.parameters, strict=True)]


class Projection(NamedTuple):
    """Saved for the backward pass: z, and dropout's factors [T, in] of the input."""

    z: Tensor
    mask: Tensor | None


class AdaptedLinear:
    """Layers with the same input as one: their weights and A's are stacked, each has its own B."""

    def __init__(
        self,
        modules: Sequence[Any],
        lora: LoraKernels | None = None,
        int8: Int8Kernels | None = None,
    ) -> None:
        """Adapters are multiplied by native code, and weights in int8, if there are kernels."""
        layers = [get_base_layer(module) for module in modules]
        self.weight = _merge_weights(layers)
        biases = [layer.bias for layer in layers]
        bias = None if biases[0] is None else torch.cat(biases)
        self._product = make_product(self.weight, bias, int8)
        self._kernels = lora
        adapters = [adapter for adapter in map(find_adapter, modules) if adapter is not None]
        self._scaling = adapters[0].scaling if adapters else 0.0
        self.dropout = adapters[0].dropout if adapters else 0.0
        self.parameters = [each.a for each in adapters] + [each.b for each in adapters]
        self._places = _find_places(modules)
        self._matrices: LoraMatrices | None = None
        self._lora: LoraProducts | None = None

    def bind(self, values: Tensor, gradient: Tensor) -> None:
        """See TrainedLayer."""
        if not self._places:
            return
        outputs, inputs = self.weight.shape
        shapes = [parameter.shape for parameter in self.parameters[len(self._places) :]]
        num_ranks = sum(rank for _, rank in shapes)
        sizes = [num_ranks * inputs, *(shape.numel() for shape in shapes)]
        (a, *b), (a_gradient, *b_gradients) = values.split(sizes), gradient.split(sizes)
        parts = [
            LoraPart(*place, b.view(shape), b_gradient.view(shape))
            for place, shape, b, b_gradient in zip(
                self._places, shapes, b, b_gradients, strict=True
            )
        ]
        a, a_gradient = (flat.view(num_ranks, inputs) for flat in (a, a_gradient))
        self._matrices = LoraMatrices(a, a_gradient, parts, self._scaling)
        self._lora = make_lora_products(self._matrices, outputs, self._kernels)

    @property
    def has_effect(self) -> bool:
        """False if the adapters add nothing, as those of a new job, all of whose B's are zero."""
        matrices = self._matrices
        return matrices is not None and any(bool(part.b.any()) for part in matrices.parts)

    def forward(
        self,
        x: Tensor,
        out: Tensor,
        memory: Workspace,
        dropout: torch.Generator | None,
        *,
        adapts: bool = True,
    ) -> Projection | None:
        """Compute `out` [T, out] of x [T, in]; inputs are dropped if there is a generator.

        Only the frozen weights are used, and nothing can be computed back, if not `adapts`.
        """
        self._product.forward(x, out)
        if self._lora is None or not adapts:
            return None
        mask = None
        if self.dropout and dropout is not None:
            mask = memory.empty(*x.shape, dtype=x.dtype)
            mask.bernoulli_(1 - self.dropout, generator=dropout).div_(1 - self.dropout)
            x = x * mask
        return Projection(self._lora.forward(x, out, memory), mask)

    def backward(
        self, grad: Tensor, projection: Projection | None, grad_x: Tensor | None, memory: Workspace
    ) -> Tensor | None:
        """Compute dB and `grad_x`, if that is needed, of dy = `grad`; return dz."""
        if grad_x is not None:
            self._product.backward(grad, grad_x)
        if self._lora is None or projection is None:
            return None
        return self._lora.backward(grad, projection.z, grad_x, projection.mask, memory)

    def backward_weights(self, dz: Tensor | None, projection: Projection | None, x: Tensor) -> None:
        """Compute dA of the layer's input, which is not needed for anything else."""
        if self._lora is not None and dz is not None and projection is not None:
            dropped = x if projection.mask is None else x * projection.mask
            self._lora.backward_weights(dz, dropped)


def stack(weights: Sequence[Tensor]) -> Tensor:
    """Stack matrices; without a copy where they follow each other, as gate and up do in files."""
    first = weights[0]
    if len(weights) == 1:
        return first
    end = first.data_ptr()
    for weight in weights:
        if weight.data_ptr() != end or not weight.is_contiguous() or weight.device.type != "cpu":
            return torch.cat(list(weights))
        end += weight.nbytes
    memory: Any = (ctypes.c_char * (end - first.data_ptr())).from_address(first.data_ptr())
    # The stack keeps them, and so the memory.
    memory.weights = weights
    return torch.frombuffer(memory, dtype=first.dtype).view(-1, first.shape[1])


def _merge_weights(layers: Sequence[Any]) -> Tensor | Nf4Weight:
    """Merge the layers' weights, which become views of the result: no memory is duplicated."""
    rows = [layer.out_features for layer in layers]
    if isinstance(layers[0], Nf4Linear):
        stacked = Nf4Weight.stack([layer.quantized for layer in layers])
        for layer, part in zip(layers, stacked.split(rows), strict=True):
            layer.move_to(part)
        return stacked
    merged = stack([layer.weight.data for layer in layers])
    for layer, view in zip(layers, merged.split(rows), strict=True):
        layer.weight.data = view
    return merged


class HasDropout(Protocol):
    """A layer, some of whose adapters may have dropout."""

    has_dropout: bool


def draw_seed(layer: HasDropout, *, records: bool) -> int | None:
    """Draw a seed if the layer has dropout: masks are the same when it is computed again."""
    return int(torch.randint(2**62, ())) if records and layer.has_dropout else None


def _find_places(modules: Sequence[Any]) -> list[tuple[slice, slice]]:
    """The columns and the ranks of each of the merged layers that has an adapter."""
    places, column, rank = [], 0, 0
    for module in modules:
        end_column = column + get_base_layer(module).out_features
        if adapter := find_adapter(module):
            end_rank = rank + len(adapter.a)
            places.append((slice(column, end_column), slice(rank, end_rank)))
            rank = end_rank
        column = end_column
    return places
