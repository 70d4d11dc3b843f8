"""Fused operations of encoders' steps: biased layer norms, GELU, softmax within texts, sums.

As in `worker.training.fused_ops`: by torch's operations for any dtype, and the same in native code,
`worker/inference/native/encoder_training.h`. Weights of norms and sums over rows are in float32, or
in float64 for models in float64.
"""

import ctypes
from collections.abc import Callable
from ctypes import c_float, c_int64, c_void_p
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from worker.inference.native.library import Kernels
from worker.training.fused_ops import FusedOps, TorchFusedOps
from worker.training.native_fused_ops import NativeFusedOps


class EncoderOps(FusedOps, Protocol):
    """Operations on contiguous tensors of one dtype; outputs are the last arguments."""

    def add_layer_norm(
        self, hidden: Tensor, delta: Tensor, weight: Tensor, bias: Tensor, eps: float,
        total: Tensor, x: Tensor, mean: Tensor, inverse: Tensor,
    ) -> None:  # fmt: skip
        """total = hidden + delta [T, d]; x = its norm, with the mean and 1 / deviation of rows."""
        ...

    def layer_norm_backward(
        self, grad_x: Tensor, total: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor,
        grad: Tensor,
    ) -> None:  # fmt: skip
        """Compute the gradient of `total` [T, d]."""
        ...

    def layer_norm_weight_backward(
        self, grad_x: Tensor, total: Tensor, mean: Tensor, inverse: Tensor,
        grad_weight: Tensor, grad_bias: Tensor,
    ) -> None:  # fmt: skip
        """Compute the gradients of the norm's weight and bias [d]."""
        ...

    def sum_columns(self, grad: Tensor, sums: Tensor) -> None:
        """sums [n] of the rows of [T, n]."""
        ...

    def gelu(self, x: Tensor, out: Tensor) -> None:
        """out = x · Φ(x), exact."""
        ...

    def gelu_backward(self, x: Tensor, grad: Tensor, grad_x: Tensor, out: Tensor) -> None:
        """Compute the gradient of `x`, and `out` again, so that it needs not be kept."""
        ...

    def masked_softmax(self, scores: Tensor, lengths: Tensor, scale: float) -> None:
        """Turn scores [texts · heads, length, length] into weights, in place.

        Each row sees the first keys, as many as its text's length [texts].
        """  # fmt: skip
        ...

    def softmax_backward(self, weights: Tensor, grad: Tensor, scale: float) -> None:
        """Turn the gradient of the weights into that of the scores, in place."""
        ...


class TorchEncoderOps(TorchFusedOps):
    """Implements `EncoderOps` by torch's operations."""

    def add_layer_norm(
        self, hidden: Tensor, delta: Tensor, weight: Tensor, bias: Tensor, eps: float,
        total: Tensor, x: Tensor, mean: Tensor, inverse: Tensor,
    ) -> None:  # fmt: skip
        torch.add(hidden, delta, out=total)
        wide = total.to(mean.dtype)
        variance, average = torch.var_mean(wide, -1, correction=0)
        mean.copy_(average)
        inverse.copy_((variance + eps).rsqrt_())
        x.copy_((wide - mean[:, None]) * inverse[:, None] * weight + bias)

    def layer_norm_backward(
        self, grad_x: Tensor, total: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor,
        grad: Tensor,
    ) -> None:  # fmt: skip
        scaled = grad_x * weight
        normed = (total - mean[:, None]) * inverse[:, None]
        slope = (scaled * normed).mean(-1, keepdim=True)
        shift = scaled.mean(-1, keepdim=True)
        grad.copy_((scaled - shift - normed * slope) * inverse[:, None])

    def layer_norm_weight_backward(
        self, grad_x: Tensor, total: Tensor, mean: Tensor, inverse: Tensor,
        grad_weight: Tensor, grad_bias: Tensor,
    ) -> None:  # fmt: skip
        normed = (total - mean[:, None]) * inverse[:, None]
        torch.sum(grad_x * normed, 0, out=grad_weight)
        self.sum_columns(grad_x, grad_bias)

    def sum_columns(self, grad: Tensor, sums: Tensor) -> None:
        torch.sum(grad, 0, dtype=sums.dtype, out=sums)

    def gelu(self, x: Tensor, out: Tensor) -> None:
        out.copy_(functional.gelu(x))

    def gelu_backward(self, x: Tensor, grad: Tensor, grad_x: Tensor, out: Tensor) -> None:
        self.gelu(x, out)
        grad_x.copy_(torch.ops.aten.gelu_backward(grad, x))

    def masked_softmax(self, scores: Tensor, lengths: Tensor, scale: float) -> None:
        of_texts = scores.unflatten(0, (len(lengths), -1))
        unseen = torch.arange(scores.shape[-1], device=scores.device) >= lengths[:, None]
        of_texts.masked_fill_(unseen[:, None, None], -torch.inf)
        scores.copy_(functional.softmax(scores * scale, -1))

    def softmax_backward(self, weights: Tensor, grad: Tensor, scale: float) -> None:
        # Zero wherever the weight is zero, so that keys that are not seen get no gradient.
        scores_grad = torch.ops.aten._softmax_backward_data(grad, weights, -1, grad.dtype)
        torch.mul(scores_grad, scale, out=grad)


class NativeEncoderOps(NativeFusedOps):
    """Implements `EncoderOps` for contiguous tensors of the kernels' dtype on a CPU."""

    # Up to this length texts attend where they are in the stream.
    max_text_length = 64

    def __init__(self, kernels: Kernels) -> None:
        super().__init__(kernels)
        pointers = [c_void_p] * 8
        self._add_layer_norm = self._declare("add_layer_norm", c_float, *pointers)
        self._layer_norm_backward = self._declare("layer_norm_backward", *pointers[:6])
        self._weight_backward = self._declare("layer_norm_weight_backward", *pointers[:6])
        self._sum_columns = self._declare("sum_columns", *pointers[:2])
        self._gelu = self._declare("gelu", *pointers[:2])
        self._gelu_backward = self._declare("gelu_backward", *pointers[:4])
        self._masked_softmax = self._declare("masked_softmax", c_float, c_int64, *pointers[:2])
        self._softmax_rows_backward = self._declare("softmax_backward", c_float, *pointers[:2])
        self._attend_texts = self._declare_texts("attend_texts", 3)
        self._attend_texts_backward = self._declare_texts("attend_texts_backward", 4)

    def _declare_texts(self, name: str, num_pointers: int) -> Callable[..., None]:
        """Declare a function of threads, numbers of texts and heads, their size, and pointers."""
        run = self._kernels.declare(name, c_void_p, *[c_int64] * 3, *[c_void_p] * num_pointers)

        def call(heads: int, head_dim: int, bounds: Tensor, *arguments: Tensor) -> None:
            pointers = [argument.data_ptr() for argument in (bounds, *arguments)]
            threads = self._kernels.get_threads()
            run(ctypes.addressof(threads), len(bounds) - 1, heads, head_dim, *pointers)

        return call

    def add_layer_norm(
        self, hidden: Tensor, delta: Tensor, weight: Tensor, bias: Tensor, eps: float,
        total: Tensor, x: Tensor, mean: Tensor, inverse: Tensor,
    ) -> None:  # fmt: skip
        self._add_layer_norm(x, eps, hidden, delta, weight, bias, total, x, mean, inverse)

    def layer_norm_backward(
        self, grad_x: Tensor, total: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor,
        grad: Tensor,
    ) -> None:  # fmt: skip
        self._layer_norm_backward(grad, grad_x, total, weight, mean, inverse, grad)

    def layer_norm_weight_backward(
        self, grad_x: Tensor, total: Tensor, mean: Tensor, inverse: Tensor,
        grad_weight: Tensor, grad_bias: Tensor,
    ) -> None:  # fmt: skip
        self._weight_backward(grad_x, grad_x, total, mean, inverse, grad_weight, grad_bias)

    def sum_columns(self, grad: Tensor, sums: Tensor) -> None:
        self._sum_columns(grad, grad, sums)

    def gelu(self, x: Tensor, out: Tensor) -> None:
        self._gelu(x, x, out)

    def gelu_backward(self, x: Tensor, grad: Tensor, grad_x: Tensor, out: Tensor) -> None:
        self._gelu_backward(x, x, grad, grad_x, out)

    def masked_softmax(self, scores: Tensor, lengths: Tensor, scale: float) -> None:
        rows_per_text = scores.numel() // scores.shape[-1] // len(lengths)
        self._masked_softmax(scores, scale, rows_per_text, lengths, scores)

    def softmax_backward(self, weights: Tensor, grad: Tensor, scale: float) -> None:
        self._softmax_rows_backward(grad, scale, weights, grad)

    def attend_texts(
        self, qkv: Tensor, bounds: Tensor, heads: int, head_dim: int, out: Tensor
    ) -> None:
        """Attend within texts: qkv [T, 3 · heads · head_dim] -> out [T, heads · head_dim].

        `bounds` [texts + 1] in int64 are the texts' first tokens, and the end.
        """
        self._attend_texts(heads, head_dim, bounds, qkv, out)

    def attend_texts_backward(
        self, qkv: Tensor, grad: Tensor, bounds: Tensor, heads: int, head_dim: int,
        grad_qkv: Tensor,
    ) -> None:  # fmt: skip
        """Compute the gradient of `qkv` of that of the output."""
        self._attend_texts_backward(heads, head_dim, bounds, qkv, grad, grad_qkv)


def choose_encoder_ops(kernels: Kernels | None) -> EncoderOps:
    """Choose native operations if there are kernels, else torch's."""
    return TorchEncoderOps() if kernels is None else NativeEncoderOps(kernels)
