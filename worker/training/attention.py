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
SHORT = 1024


@dataclass(frozen=True, slots=True)
class Heads:
    """Numbers of query heads and of key-value heads, and the size of each."""

    query: int
    kv: int
    size: int


def attend(qkv: Tensor, batch: MicroBatch, heads: Heads) -> Tensor:
    """qkv [T, heads · size], already rotated -> [T, query heads · size]."""
    blocks = _Spread.apply(qkv, batch)
    result: Tensor = _Collect.apply(batch, *(_attend_block(block, heads) for block in blocks))
    return result


class _Spread(torch.autograd.Function):
    """The stream [T, C] into blocks [rows, length, C].

    Backwards a token receives from the one slot it has; a shared one from its slots in all rows,
    summed in float32 by `sum`. Scattered addition would round to bfloat16 after every row.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, batch: MicroBatch) -> tuple[Tensor, ...]:
        ctx.batch = batch
        return tuple(x[block] for block in batch.blocks)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        batch: MicroBatch = ctx.batch
        flat = torch.cat([grad.flatten(0, 1) for grad in upstream])
        out = flat[batch.collect]
        if batch.shared:
            out[: batch.shared] = sum(
                grad[:, : batch.shared].sum(0, dtype=torch.float32) for grad in upstream
            )
        return out, None


class _Collect(torch.autograd.Function):
    """Blocks [rows, length, C] back into the stream [T, C]; the inverse of `_Spread`."""

    @staticmethod
    def forward(ctx: Any, batch: MicroBatch, *blocks: Tensor) -> Tensor:
        ctx.batch = batch
        return torch.cat([block.flatten(0, 1) for block in blocks])[batch.collect]

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = upstream
        batch: MicroBatch = ctx.batch
        sizes = [block.numel() for block in batch.blocks]
        flat = grad.new_zeros(sum(sizes), grad.shape[-1])
        flat[batch.collect] = grad
        parts = flat.split(sizes)
        return None, *(
            part.view(*block.shape, -1) for part, block in zip(parts, batch.blocks, strict=True)
        )


def _attend_block(qkv: Tensor, heads: Heads) -> Tensor:
    """Causal attention of a block: [rows, length, heads · size] -> [rows, length, query · size]."""
    rows, length, _ = qkv.shape
    q, k, v = (
        part.transpose(1, 2)
        for part in qkv.view(rows, length, -1, heads.size).split(
            [heads.query, heads.kv, heads.kv], dim=2
        )
    )
    if qkv.device.type == "cpu" and length <= SHORT:
        out = _attend_short(q, k, v)
    else:
        out = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return out.transpose(1, 2).reshape(rows, length, -1)


class _ShortAttention(torch.autograd.Function):
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


def _attend_short(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention [rows, heads, length, size]."""
    rows, kv_heads, length, size = k.shape
    out: Tensor = _ShortAttention.apply(
        q.reshape(rows * kv_heads, -1, size),
        k.reshape(rows * kv_heads, length, size),
        v.reshape(rows * kv_heads, length, size),
    )
    return out.view(q.shape)
