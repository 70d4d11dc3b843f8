"""Fused operations of a training step in native code.

`worker/inference/native/training.h` and `training_attention.h`.
"""

import ctypes
import sys
from collections.abc import Callable
from ctypes import c_float, c_int64, c_void_p
from pathlib import Path

import torch
from torch import Tensor

from worker.inference.native.library import Kernels, load_kernels
from worker.inference.native.structs import KEYS, MAX_LANES, PANEL, whole_vectors
from worker.training.attention_products import (
    Heads,
    attend_by_products,
    attend_by_products_backward,
)
from worker.training.fused_ops import FusedOps, Rope, TorchFusedOps
from worker.training.rounded_sizes import round_up
from worker.training.workspace import Workspace

# A pass over fewer numbers is one thread's: it takes less time than to wake another one, which on a
# busy machine is not scheduled at once. Its result is the same.
MIN_SHARED_NUMBERS = 2**18
# With this and the length of short rows, a thread's stack holds at most 1.5 MB.
MAX_SHORT_HEAD_DIM = 256


class NativeFusedOps:
    """Implements `FusedOps` for contiguous tensors of the kernels' dtype on a CPU."""

    # Up to this length products that keep all attention weights are 1.3 times as fast as tiles,
    # which compute them again and keep none, see `bench.attention`; torch's, for other sizes of
    # heads, are as fast as tiles.
    max_product_length = 256
    max_attention_length = sys.maxsize

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels
        pointers = [c_void_p] * 6
        self._add_norm = self._declare("add_norm", c_float, *pointers)
        self._norm_backward = self._declare("norm_backward", *pointers[:5])
        self._swiglu = self._declare("swiglu", *pointers[:2])
        self._swiglu_backward = self._declare("swiglu_backward", *pointers[:4])
        self._gather = self._declare("gather_heads", *pointers[:5], *[c_int64] * 3)
        self._sum_copies = kernels.declare("sum_copies", c_void_p, *[c_int64] * 3, *pointers[:2])
        self._softmax = self._declare("causal_softmax", c_float, *pointers[:1])
        self._softmax_backward = self._declare("causal_softmax_backward", c_float, *pointers[:2])
        if kernels.has("attend_short"):
            self._attend_short = self._declare_attention("attend_short", 5)
            self._attend_short_backward = self._declare_attention("attend_short_backward", 8)
        self._attend = self._declare_attention("attend_rows", 5)
        self._attend_backward = self._declare_attention("attend_rows_backward", 10)
        self._cross_entropy = self._declare("cross_entropy", c_float, *pointers[:5], c_int64)

    def _declare(self, name: str, *types: type) -> Callable[..., None]:
        """Declare a function of threads, rows, the size of a row, and arguments of `types`."""
        run = self._kernels.declare(name, c_void_p, c_int64, c_int64, *types)

        def call(x: Tensor, *arguments: Tensor | float | None) -> None:
            values = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
            threads = self._kernels.get_threads()
            if x.numel() < MIN_SHARED_NUMBERS:
                threads.count = 1
            run(ctypes.addressof(threads), x.numel() // x.shape[-1], x.shape[-1], *values)

        return call

    def _declare_attention(self, name: str, num_pointers: int) -> Callable[..., None]:
        """Declare a function of threads, the shape of heads, and pointers."""
        run = self._kernels.declare(name, c_void_p, *[c_int64] * 4, *[c_void_p] * num_pointers)

        def call(heads: Heads, *arguments: Tensor) -> None:
            rows, kv_heads, length, head_dim = heads.k.shape
            group = heads.q.shape[1] // kv_heads
            pointers = [argument.data_ptr() for argument in arguments]
            threads = self._kernels.get_threads()
            address = ctypes.addressof(threads)
            run(address, rows * kv_heads, length, group, head_dim, *pointers)

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

    def sum_copies(self, x: Tensor, places: Tensor) -> None:
        copies, sums = len(places), places[0].numel()
        threads = self._kernels.get_threads()
        if places.numel() * x.shape[-1] < MIN_SHARED_NUMBERS:
            threads.count = 1
        pointers = x.data_ptr(), places.data_ptr()
        self._sum_copies(ctypes.addressof(threads), sums, x.shape[-1], copies, *pointers)

    def attend(self, heads: Heads, out: Tensor, keep: Workspace) -> Tensor:
        """Return weights, or the logarithm of each query's sum of e^score if rows are long."""
        rows, num_heads, length, head_dim = heads.q.shape
        if length <= self.max_product_length:
            if not self._supports_short_rows(head_dim):
                return attend_by_products(heads, out, keep, self._causal_softmax)
            weights = keep.empty(rows, num_heads, length, whole_vectors(length), dtype=out.dtype)
            self._attend_short(heads, *heads, out, weights)
            return weights
        lse = keep.empty(*out.shape[:3], dtype=torch.float32)
        self._attend(heads, *heads, out, lse)
        return lse

    def attend_backward(
        self, heads: Heads, out: Tensor | None, kept: Tensor, grad: Tensor, grads: Heads,
        scratch: Workspace,
    ) -> None:  # fmt: skip
        rows, kv_heads, length, head_dim = heads.k.shape
        if length <= self.max_product_length:
            if self._supports_short_rows(head_dim):
                self._attend_short_backward(heads, *heads, kept, grad, *grads)
                return
            softmax_backward = self._causal_softmax_backward
            attend_by_products_backward(heads, kept, grad, grads, scratch, softmax_backward)
            return
        assert out is not None
        padded = round_up(length, step=KEYS), round_up(head_dim, step=PANEL)
        # For the gradients of keys and values, then the keys transposed.
        sums = scratch.empty(rows * kv_heads, 3, *padded, dtype=torch.float32)
        self._attend_backward(heads, *heads, out, kept, grad, *grads, sums)

    def _supports_short_rows(self, head_dim: int) -> bool:
        has_vectors = head_dim % MAX_LANES == 0 and head_dim <= MAX_SHORT_HEAD_DIM
        return has_vectors and self._kernels.has("attend_short")

    def _causal_softmax(self, scores: Tensor, scale: float) -> None:
        self._softmax(scores, scale, scores)

    def _causal_softmax_backward(self, weights: Tensor, grad: Tensor, scale: float) -> None:
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


def choose_fused_ops(kernels: Kernels | None) -> FusedOps:
    """Choose native operations if there are kernels, else torch's."""
    return TorchFusedOps() if kernels is None else NativeFusedOps(kernels)
