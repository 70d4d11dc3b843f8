"""Fused operations of a training step in native code, `worker/inference/native/training.h`."""

import ctypes
from collections.abc import Callable
from ctypes import c_float, c_int64, c_void_p
from pathlib import Path

import torch
from torch import Tensor

from worker.inference.native.library import Kernels, load_kernels
from worker.training.fused_ops import FusedOps, Rope, TorchFusedOps


class NativeFusedOps:
    """Implements `FusedOps` for contiguous tensors of the kernels' dtype on a CPU."""

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels
        pointers = [c_void_p] * 6
        self._add_norm = self._declare("add_norm", c_float, *pointers)
        self._norm_backward = self._declare("norm_backward", *pointers[:5])
        self._swiglu = self._declare("swiglu", *pointers[:2])
        self._swiglu_backward = self._declare("swiglu_backward", *pointers[:4])
        self._gather = self._declare("gather_heads", *pointers[:5], *[c_int64] * 3)
        self._softmax = self._declare("causal_softmax", c_float, *pointers[:1])
        self._softmax_backward = self._declare("causal_softmax_backward", c_float, *pointers[:2])
        self._cross_entropy = self._declare("cross_entropy", c_float, *pointers[:5], c_int64)

    def _declare(self, name: str, *types: type) -> Callable[..., None]:
        """Declare a function of threads, rows, the size of a row, and arguments of `types`."""
        run = self._kernels.declare(name, c_void_p, c_int64, c_int64, *types)

        def call(x: Tensor, *arguments: Tensor | float | None) -> None:
            values = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
            threads = self._kernels.get_threads()
            run(ctypes.addressof(threads), x.numel() // x.shape[-1], x.shape[-1], *values)

        return call

    def add_norm(
        self, hidden: Tensor, delta: Tensor | None, weight: Tensor, eps: float,
        total: Tensor, x: Tensor, inverse: Tensor,
    ) -> None:  # fmt: skip
        self._add_norm(x, eps, hidden, delta, weight, total, x, inverse)

    def norm_backward(
        self, grad_x: Tensor, total: Tensor, weight: Tensor, inverse: Tensor, grad: Tensor
    ) -> None:
        self._norm_backward(grad, grad_x, total, weight, inverse, grad)

    def swiglu(self, gate_up: Tensor, out: Tensor) -> None:
        self._swiglu(out, gate_up, out)

    def swiglu_backward(
        self, gate_up: Tensor, grad: Tensor, grad_gate_up: Tensor, out: Tensor
    ) -> None:
        self._swiglu_backward(out, gate_up, grad, grad_gate_up, out)

    def gather_heads(self, x: Tensor, index: Tensor, rope: Rope | None, out: Tensor) -> None:
        if rope is None:
            self._gather(out, x, index, out, None, None, 1, 0, 0)
        else:
            self._gather(out, x, index, out, rope.cos, rope.sin, rope.heads, rope.rotated, 0)

    def gather_heads_back(self, x: Tensor, index: Tensor, rope: Rope | None, out: Tensor) -> None:
        if rope is None:
            self.gather_heads(x, index, None, out)
        else:
            self._gather(out, x, index, out, rope.cos, rope.sin, rope.heads, rope.rotated, 1)

    def causal_softmax(self, scores: Tensor, scale: float) -> None:
        self._softmax(scores, scale, scores)

    def causal_softmax_backward(self, weights: Tensor, grad: Tensor, scale: float) -> None:
        self._softmax_backward(grad, scale, weights, grad)

    def cross_entropy(
        self, logits: Tensor, labels: Tensor, smoothing: float, losses: Tensor, correct: Tensor,
        *, has_gradient: bool,
    ) -> None:  # fmt: skip
        sums = torch.empty_like(losses)
        self._cross_entropy(logits, smoothing, logits, labels, losses, sums, correct, has_gradient)
        losses.add_(sums.log_())


def find_kernels(folder: Path | None, dtype: torch.dtype, device: torch.device) -> Kernels | None:
    """Load kernels that `folder` has, or gets, for this CPU; None for other devices and dtypes."""
    if folder is None or device.type != "cpu" or dtype not in (torch.bfloat16, torch.float32):
        return None
    return load_kernels(folder, dtype)


def choose_fused_ops(folder: Path | None, dtype: torch.dtype, device: torch.device) -> FusedOps:
    """Choose native operations if there are kernels, else torch's."""
    kernels = find_kernels(folder, dtype, device)
    return TorchFusedOps() if kernels is None else NativeFusedOps(kernels)
