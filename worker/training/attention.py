"""Causal attention for a stream of rows: spread into blocks, attended to, collected again."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from worker.training.batching import MicroBatch

# Up to this length plain batched products beat torch's fused attention on CPUs, 1.5 to 4 times.
# Beyond it they would still, but the weights they keep for the backward pass grow too large.
MAX_EAGER_LENGTH = 1024


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """Numbers of query heads and of key-value heads, and the size of each."""

    num_query_heads: int
    num_kv_heads: int
    head_dim: int


def varlen_attention(qkv: Tensor, batch: MicroBatch, heads: AttentionShape) -> Tensor:
    """qkv [T, heads · size], already rotated -> [T, query heads · size]."""
    blocks = _PadInput.apply(qkv, batch)
    result: Tensor = _UnpadInput.apply(
        batch, *(_causal_attention(block, heads) for block in blocks)
    )
    return result


class _PadInput(torch.autograd.Function):
    """The stream [T, C] into blocks [rows, length, C].

    Backwards a token receives from the one slot it has; a shared one from its slots in all rows,
    summed in float32 by `sum`. Scattered addition would round to bfloat16 after every row.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, batch: MicroBatch) -> tuple[Tensor, ...]:
        ctx.batch = batch
        return tuple(x[block] for block in batch.pad_indices)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        batch: MicroBatch = ctx.batch
        flat = torch.cat([grad.flatten(0, 1) for grad in upstream])
        out = flat[batch.unpad_index]
        if batch.prefix_len:
            out[: batch.prefix_len] = sum(
                grad[:, : batch.prefix_len].sum(0, dtype=torch.float32) for grad in upstream
            )
        return out, None


class _UnpadInput(torch.autograd.Function):
    """Blocks [rows, length, C] back into the stream [T, C]; the inverse of `_Spread`."""

    @staticmethod
    def forward(ctx: Any, batch: MicroBatch, *blocks: Tensor) -> Tensor:
        ctx.batch = batch
        return torch.cat([block.flatten(0, 1) for block in blocks])[batch.unpad_index]

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = upstream
        batch: MicroBatch = ctx.batch
        sizes = [block.numel() for block in batch.pad_indices]
        flat = grad.new_zeros(sum(sizes), grad.shape[-1])
        flat[batch.unpad_index] = grad
        parts = flat.split(sizes)
        return None, *(
            part.view(*block.shape, -1)
            for part, block in zip(parts, batch.pad_indices, strict=True)
        )


def _causal_attention(qkv: Tensor, heads: AttentionShape) -> Tensor:
    """Causal attention of a block: [rows, length, heads · size] -> [rows, length, query · size]."""
    rows, length, _ = qkv.shape
    q, k, v = (
        part.transpose(1, 2)
        for part in qkv.view(rows, length, -1, heads.head_dim).split(
            [heads.num_query_heads, heads.num_kv_heads, heads.num_kv_heads], dim=2
        )
    )
    if qkv.device.type == "cpu" and length <= MAX_EAGER_LENGTH:
        out = _eager_causal_attention(q, k, v)
    else:
        out = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return out.transpose(1, 2).reshape(rows, length, -1)


class _EagerCausalAttention(torch.autograd.Function):
    """Causal attention [groups, heads · length, size] to keys and values [groups, length, size].

    By plain batched products, the query heads that share keys stacked.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        stacked, size = q.shape[1:]
        length = k.shape[1]
        later = torch.full((length, length), -math.inf, dtype=q.dtype, device=q.device).triu_(1)
        ctx.scale = 1 / math.sqrt(size)
        scores = torch.baddbmm(
            later.repeat(stacked // length, 1), q, k.transpose(1, 2), alpha=ctx.scale
        )
        weights = scores.softmax(-1)
        ctx.save_for_backward(q, k, v, weights)
        return weights @ v

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (grad,) = upstream
        q, k, v, weights = ctx.saved_tensors
        weights_grad = grad @ v.transpose(1, 2)
        # Zero where the weight is: what the mask hid stays hidden.
        scores_grad = torch.ops.aten._softmax_backward_data(weights_grad, weights, -1, q.dtype)
        q_grad = (scores_grad @ k).mul_(ctx.scale)
        k_grad = (scores_grad.transpose(1, 2) @ q).mul_(ctx.scale)
        return q_grad, k_grad, weights.transpose(1, 2) @ grad


def _eager_causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention [rows, heads, length, size]."""
    rows, kv_heads, length, size = k.shape
    out: Tensor = _EagerCausalAttention.apply(
        q.reshape(rows * kv_heads, -1, size),
        k.reshape(rows * kv_heads, length, size),
        v.reshape(rows * kv_heads, length, size),
    )
    return out.view(q.shape)
