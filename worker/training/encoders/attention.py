"""Attention of encoders: each token of a text sees all tokens of the text."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol

import torch
from torch import Tensor

from worker.training.attention import Attention, Block, Kept
from worker.training.attention_products import (
    Heads,
    attend_by_products,
    attend_by_products_backward,
)
from worker.training.batching import collate_texts
from worker.training.encoders.fused_ops import EncoderOps, NativeEncoderOps
from worker.training.workspace import Workspace

# A thread holds a few numbers of each token of a short text, for each of a head, on its stack.
MAX_SHORT_TEXT_HEAD_DIM = 256


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """Numbers of heads, and the size of each."""

    heads: int
    head_dim: int

    @property
    def kv_heads(self) -> int:
        return self.heads


class EncoderAttention(Protocol):
    """Attention of the texts of a stream of tokens, which may have rows of padding at its end."""

    # True if the backward pass needs the input.
    keeps_input: bool

    def forward(self, qkv: Tensor, out: Tensor) -> Any:
        """Attend: qkv [T, 3 · width] -> out [T, width]; return what the backward pass takes."""
        ...

    def backward(self, grad: Tensor, kept: Any, grad_qkv: Tensor) -> None:
        """Compute the gradient of qkv from that of the output."""
        ...


class ShortTextAttention:
    """Implements `EncoderAttention` in native code, on the stream itself."""

    keeps_input = True

    def __init__(self, lengths: Sequence[int], shape: EncoderShape, ops: NativeEncoderOps) -> None:
        self._ops, self._shape = ops, (shape.heads, shape.head_dim)
        self._bounds = torch.tensor([0, *accumulate(lengths)])
        self._num_tokens = sum(lengths)

    def forward(self, qkv: Tensor, out: Tensor) -> Tensor:
        self._ops.attend_texts(qkv, self._bounds, *self._shape, out)
        out[self._num_tokens :].zero_()
        return qkv

    def backward(self, grad: Tensor, kept: Tensor, grad_qkv: Tensor) -> None:
        self._ops.attend_texts_backward(kept, grad, self._bounds, *self._shape, grad_qkv)
        grad_qkv[self._num_tokens :].zero_()


class PaddedAttention(Attention):
    """Implements `EncoderAttention` by products of texts padded to blocks."""

    keeps_input = False

    def __init__(
        self, ids: Tensor, lengths: Sequence[int], shape: EncoderShape, ops: EncoderOps,
        keep: Workspace, scratch: Workspace,
    ) -> None:  # fmt: skip
        batch = collate_texts([part.numpy() for part in ids.int().split(lengths)], ids.device)
        super().__init__(batch, shape, None, ops, keep, scratch)
        self._encoder_ops = ops
        self._lengths = ids.new_tensor(lengths)

    def forward(self, qkv: Tensor, out: Tensor, *, records: bool = False) -> Kept:
        return super().forward(qkv, out, records=records)

    def _attend(self, block: Block, heads: Heads, out: Tensor) -> Tensor:
        lengths = self._lengths[block.first_row :][: block.rows]

        def softmax(scores: Tensor, scale: float) -> None:
            self._encoder_ops.masked_softmax(scores, lengths, scale)

        return attend_by_products(heads, out, self._keep, softmax)

    def _attend_backward(
        self, block: Block, heads: Heads, out: Tensor | None, kept: Tensor, grad: Tensor,
        grads: Heads,
    ) -> None:  # fmt: skip
        softmax_backward = self._encoder_ops.softmax_backward
        attend_by_products_backward(heads, kept, grad, grads, self._scratch, softmax_backward)

    def _needs_output(self, block: Block) -> bool:
        return False


def make_attention(
    ids: Tensor, lengths: Sequence[int], shape: EncoderShape, ops: EncoderOps, keep: Workspace,
    scratch: Workspace,
) -> EncoderAttention:  # fmt: skip
    """Make the attention of a stream of token `ids`, whose texts have these `lengths`, ascending.

    `keep` has what the backward pass needs, `scratch` the rest.
    """
    if isinstance(ops, NativeEncoderOps) and shape.head_dim <= MAX_SHORT_TEXT_HEAD_DIM:
        if lengths[-1] <= ops.max_text_length:
            return ShortTextAttention(lengths, shape, ops)
    return PaddedAttention(ids, lengths, shape, ops, keep, scratch)
