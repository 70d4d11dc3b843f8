"""Attention of encoders: each token of a text sees all tokens of the text."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from worker.training.attention import Attention, Block
from worker.training.attention_products import (
    Heads,
    attend_by_products,
    attend_by_products_backward,
)
from worker.training.batching import MicroBatch
from worker.training.encoders.fused_ops import EncoderOps
from worker.training.workspace import Workspace


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """Numbers of heads, and the size of each."""

    heads: int
    head_dim: int

    @property
    def kv_heads(self) -> int:
        return self.heads


class EncoderAttention(Attention):
    """Attention of one micro-batch, whose texts have these `lengths`, ascending."""

    def __init__(
        self, batch: MicroBatch, lengths: Sequence[int], shape: EncoderShape, ops: EncoderOps,
        keep: Workspace, scratch: Workspace,
    ) -> None:  # fmt: skip
        super().__init__(batch, shape, None, ops, keep, scratch)
        self._encoder_ops = ops
        self._lengths = batch.ids.new_tensor(lengths)

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
