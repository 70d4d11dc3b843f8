"""Attention by batched matrix products, which keep all attention weights."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from worker.training.workspace import Workspace


class Heads(NamedTuple):
    """Queries [rows, heads, length, n], keys and values [rows, kv heads, length, n]."""

    q: Tensor
    k: Tensor
    v: Tensor


def attend_by_products(
    heads: Heads, out: Tensor, keep: Workspace, softmax: Callable[[Tensor, float], None]
) -> Tensor:
    """Attend; return weights [rows · kv heads, heads of each · length, keys].

    `softmax` turns scores into weights, in place, by a factor of the scores.
    """
    queries, keys, values, outputs = _group_heads(*heads, out)
    weights = keep.empty(*queries.shape[:2], keys.shape[1], dtype=out.dtype)
    torch.bmm(queries, keys.transpose(1, 2), out=weights)
    softmax(weights, 1 / math.sqrt(keys.shape[2]))
    torch.bmm(weights, values, out=outputs)
    return weights


def attend_by_products_backward(
    heads: Heads,
    weights: Tensor,
    grad: Tensor,
    grads: Heads,
    scratch: Workspace,
    softmax_backward: Callable[[Tensor, Tensor, float], None],
) -> None:
    """Compute `grads`; `softmax_backward` turns the weights' gradient into the scores'."""
    queries, keys, values, upstream = _group_heads(*heads, grad)
    grad_queries, grad_keys, grad_values, _ = _group_heads(*grads, grad)
    torch.bmm(weights.transpose(1, 2), upstream, out=grad_values)
    grad_scores = scratch.empty(*weights.shape, dtype=weights.dtype)
    torch.bmm(upstream, values.transpose(1, 2), out=grad_scores)
    softmax_backward(weights, grad_scores, 1 / math.sqrt(keys.shape[2]))
    torch.bmm(grad_scores, keys, out=grad_queries)
    torch.bmm(grad_scores.transpose(1, 2), queries, out=grad_keys)


def _group_heads(q: Tensor, k: Tensor, v: Tensor, out: Tensor) -> Sequence[Tensor]:
    """Stack the heads that share a key: [rows · kv heads, heads of each · length, n]."""
    return [x.view(len(k) * k.shape[1], -1, x.shape[-1]) for x in (q, k, v, out)]
