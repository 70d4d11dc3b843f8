"""Linear layers that are trained in full, and their gradients, into given memory.

With the interface of `adapted_linear.AdaptedLinear`, whose layers are frozen and have adapters.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from worker.training.adapted_linear import Projection
from worker.training.encoders.fused_ops import EncoderOps
from worker.training.workspace import Workspace


class TunedLinear:
    """Layers with the same input as one: y = x · Wᵀ + bias."""

    dropout = 0.0

    def __init__(self, layers: Sequence[Any], ops: EncoderOps) -> None:
        self.parameters: list[nn.Parameter] = [
            *(layer.weight for layer in layers),
            *(layer.bias for layer in layers),
        ]
        self._ops = ops
        self._shape = sum(layer.out_features for layer in layers), layers[0].in_features
        self.weight = torch.empty(self._shape, device="meta")
        self._bias = self._weight_gradient = self._bias_gradient = self.weight

    def bind(self, values: Tensor, gradient: Tensor) -> None:
        """See TrainedLayer."""
        num_outputs, num_inputs = self._shape
        sizes = [num_outputs * num_inputs, num_outputs]
        weight, self._bias = values.split(sizes)
        weight_gradient, self._bias_gradient = gradient.split(sizes)
        self.weight = weight.view(self._shape)
        self._weight_gradient = weight_gradient.view(self._shape)

    def forward(
        self, x: Tensor, out: Tensor, memory: Workspace, dropout: torch.Generator | None
    ) -> Projection | None:
        """Compute `out` [T, out] of x [T, in]."""
        torch.addmm(self._bias, x, self.weight.T, out=out)
        return None

    def backward(
        self, grad: Tensor, projection: Projection | None, grad_x: Tensor | None, memory: Workspace
    ) -> Tensor:
        """Compute `grad_x` of dy = `grad`, if needed; return what `backward_weights` takes."""
        if grad_x is not None:
            torch.mm(grad, self.weight, out=grad_x)
        return grad

    def backward_weights(
        self, grad: Tensor | None, projection: Projection | None, x: Tensor
    ) -> None:
        """Compute the gradients of weights and biases, of dy = `grad` and the layer's input."""
        assert grad is not None
        torch.mm(grad.T, x, out=self._weight_gradient)
        wide = torch.promote_types(grad.dtype, torch.float32)
        sums = torch.empty(grad.shape[1], dtype=wide, device=grad.device)
        self._ops.sum_columns(grad, sums)
        self._bias_gradient.copy_(sums)
