"""Frozen linear layers with LoRA, and their gradients, as matrix products into given memory.

y  = x · Wᵀ + bias + s · z · Bᵀ     with z = dropout(x) · Aᵀ
dz = s · dy · B                     dx = dy · W + dropout(dz · A)
dB = s · dyᵀ · z                    dA = dzᵀ · dropout(x)
"""

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from worker.training.frozen_product import Int8Kernels, make_product
from worker.training.lora import find_adapter, get_base_layer
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
    """Saved for the backward pass: z [T, ranks], and dropout's factors [T, in] of the input."""

    z: Tensor
    mask: Tensor | None


class _Part(NamedTuple):
    """The outputs of one of the merged layers, and the ranks of its adapter."""

    columns: slice
    ranks: slice


class AdaptedLinear:
    """Layers with the same input as one: their weights and A's are stacked, each has its own B."""

    def __init__(self, modules: Sequence[Any], int8: Int8Kernels | None = None) -> None:
        """Weights are multiplied in int8 if there are kernels for it."""
        layers = [get_base_layer(module) for module in modules]
        self.weight = _merge_weights(layers)
        biases = [layer.bias for layer in layers]
        bias = None if biases[0] is None else torch.cat(biases)
        self._product = make_product(self.weight, bias, int8)
        adapters = [adapter for adapter in map(find_adapter, modules) if adapter is not None]
        self._scaling = adapters[0].scaling if adapters else 0.0
        self.dropout = adapters[0].dropout if adapters else 0.0
        self.parameters = [each.a for each in adapters] + [each.b for each in adapters]
        self._num_ranks = sum(len(adapter.a) for adapter in adapters)
        self._parts = list(_find_parts(modules))
        self._a = self._a_gradient = torch.empty(0)
        self._b: Sequence[Tensor] = ()
        self._b_gradients: Sequence[Tensor] = ()

    def bind(self, values: Tensor, gradient: Tensor) -> None:
        """See TrainedLayer."""
        if not self._parts:
            return
        size = self._num_ranks * self.weight.shape[1]
        sizes = [size, *(p.numel() for p in self.parameters[len(self._parts) :])]
        a, *b = values.split(sizes)
        a_gradient, *b_gradients = gradient.split(sizes)
        self._a, self._a_gradient = (flat.view(self._num_ranks, -1) for flat in (a, a_gradient))
        shapes = [parameter.shape for parameter in self.parameters[len(self._parts) :]]
        self._b = [flat.view(shape) for flat, shape in zip(b, shapes, strict=True)]
        self._b_gradients = [f.view(shape) for f, shape in zip(b_gradients, shapes, strict=True)]

    @property
    def has_effect(self) -> bool:
        """False if the adapters add nothing, as those of a new job, all of whose B's are zero."""
        return any(bool(b.any()) for b in self._b)

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
        if not self._parts or not adapts:
            return None
        z = memory.empty(len(x), self._num_ranks, dtype=x.dtype)
        mask = None
        if self.dropout and dropout is not None:
            mask = memory.empty(*x.shape, dtype=x.dtype)
            mask.bernoulli_(1 - self.dropout, generator=dropout).div_(1 - self.dropout)
            x = x * mask
        torch.mm(x, self._a.T, out=z)
        for part, b in zip(self._parts, self._b, strict=True):
            out[:, part.columns].addmm_(z[:, part.ranks], b.T, alpha=self._scaling)
        return Projection(z, mask)

    def backward(
        self, grad: Tensor, projection: Projection | None, grad_x: Tensor | None, memory: Workspace
    ) -> Tensor | None:
        """Compute dB and `grad_x`, if that is needed, of dy = `grad`; return dz."""
        if grad_x is not None:
            self._product.backward(grad, grad_x)
        if projection is None:
            return None
        z, mask = projection
        dz = memory.empty(*z.shape, dtype=z.dtype)
        for (columns, ranks), b, b_gradient in zip(
            self._parts, self._b, self._b_gradients, strict=True
        ):
            dy = grad[:, columns]
            _multiply(dy.T, z[:, ranks], self._scaling, b_gradient)
            _multiply(dy, b, self._scaling, dz[:, ranks])
        if grad_x is None:
            return dz
        if mask is None:
            grad_x.addmm_(dz, self._a)
        else:
            grad_x.addcmul_(dz @ self._a, mask)
        return dz

    def backward_weights(self, dz: Tensor | None, projection: Projection | None, x: Tensor) -> None:
        """Compute dA of the layer's input, which is not needed for anything else."""
        if dz is not None and projection is not None:
            dropped = x if projection.mask is None else x * projection.mask
            torch.mm(dz.T, dropped, out=self._a_gradient)


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


def _multiply(a: Tensor, b: Tensor, factor: float, out: Tensor) -> None:
    torch.addmm(out, a, b, beta=0, alpha=factor, out=out)


def _find_parts(modules: Sequence[Any]) -> list[_Part]:
    parts, column, rank = [], 0, 0
    for module in modules:
        end_column = column + get_base_layer(module).out_features
        if adapter := find_adapter(module):
            end_rank = rank + len(adapter.a)
            parts.append(_Part(slice(column, end_column), slice(rank, end_rank)))
            rank = end_rank
        column = end_column
    return parts
