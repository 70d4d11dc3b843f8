"""Causal attention over a packed token stream: gather heads into blocks, attend, gather back.

The rows of a block are padded to one length, so that their attention is one product; where there is
a kernel for rows of any lengths, they are laid end to end instead. Gathering does
what FlashAttention's `bert_padding` does, and transposes and rotates in the same pass. A prefix
that rows share is in the stream once, and is copied into each of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from worker.training.attention_products import Heads
from worker.training.batching import MicroBatch, RowBounds
from worker.training.fused_ops import FusedOps, Rope
from worker.training.workspace import Workspace


class AttentionShape(Protocol):
    """Numbers of heads: of queries, of keys and values, and the size of each."""

    @property
    def heads(self) -> int: ...
    @property
    def kv_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...


class Block(NamedTuple):
    """Rows of a micro-batch, padded to one length, of which the first is `first_row`.

    Their heads begin at `start`, their outputs at `out_start`.
    """

    first_row: int
    rows: int
    length: int
    start: int
    out_start: int


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Places of the heads of a micro-batch's stream in its blocks.

    A block has queries [rows, heads, length], then keys and values [rows, kv heads, length], each
    a head of `head_dim` numbers; its outputs have the places of its queries.

    to_blocks    stream index · heads of a token + head, for each head in a block
    from_blocks  [T · heads of a token]: its place in the blocks, the first of a shared token's
    shared       [rows, tokens, heads of a token] of shared tokens: all of their places
    outputs      [T · query heads]: as from_blocks, of outputs
    to_outputs   the inverse: -1 for padding, and for further places of shared tokens
    """

    blocks: Sequence[Block]
    to_blocks: Tensor
    from_blocks: Tensor
    shared: Sequence[Tensor]
    outputs: Tensor
    to_outputs: Tensor


def lay_out(batch: MicroBatch, shape: AttentionShape) -> Layout:
    """Compute the layout of a micro-batch, which all layers share."""
    kinds = (shape.heads, shape.kv_heads, shape.kv_heads)
    heads = torch.arange(sum(kinds), device=batch.ids.device)
    blocks, to_blocks, places, out_places = [], [], [], []
    first_row = start = out_start = 0
    for indices in batch.pad_indices:
        rows, length = indices.shape
        blocks.append(Block(first_row, rows, length, start, out_start))
        first_row += rows
        slot_places = []
        for of_kind in heads.split(kinds):
            count = len(of_kind)
            to_blocks.append((indices[:, None] * len(heads) + of_kind[:, None]).flatten())
            place = torch.arange(rows * count * length, device=heads.device)
            # By slot, then by head.
            slot_places.append(place.view(rows, count, length).transpose(1, 2).flatten(0, 1))
        queries, keys, values = slot_places
        out_places.append(queries + out_start)
        keys_start = start + queries.numel()
        values_start = keys_start + keys.numel()
        places.append(torch.cat([queries + start, keys + keys_start, values + values_start], dim=1))
        start = values_start + values.numel()
        out_start += queries.numel()
    outputs = torch.cat(out_places)[batch.unpad_index].flatten()
    to_outputs = torch.full((out_start,), -1, device=heads.device)
    to_outputs[outputs] = torch.arange(len(outputs), device=heads.device)
    by_slot = torch.cat(places)
    return Layout(
        blocks,
        torch.cat(to_blocks),
        by_slot[batch.unpad_index].flatten(),
        [by_slot[shared.slots] for shared in batch.shared],
        outputs,
        to_outputs,
    )


class Recorded(NamedTuple):
    """Inputs and output of torch's fused kernel, recorded by autograd."""

    inputs: tuple[Tensor, Tensor, Tensor]
    out: Tensor


class Kept(NamedTuple):
    """Saved for the backward pass: heads, the output, and what was kept of each block.

    That is what the ops returned, or autograd's record of torch's kernel.
    """

    heads: Tensor
    out: Tensor
    of_blocks: Sequence[Tensor | Recorded]


class Attention:
    """Attention of one micro-batch; `keep` has what the backward pass needs, `scratch` the rest."""

    def __init__(
        self, batch: MicroBatch, shape: AttentionShape, rope: Rope | None, ops: FusedOps,
        keep: Workspace, scratch: Workspace,
    ) -> None:  # fmt: skip
        self._layout = lay_out(batch, shape)
        self._bounds = batch.bounds
        self._shape, self._rope, self._ops = shape, rope, ops
        self._keep, self._scratch = keep, scratch
        self._num_tokens = len(batch.ids)
        self._device = batch.ids.device

    def forward(self, qkv: Tensor, out: Tensor, *, records: bool) -> Kept:
        """Attend: qkv [T, (query + 2 · kv heads) · head_dim] -> out [T, query heads · head_dim].

        Both may have further rows, which padding adds to the stream: they get zeros.
        """
        layout, size = self._layout, self._shape.head_dim
        heads = self._keep.empty(len(layout.to_blocks), size, dtype=qkv.dtype)
        of_stream = qkv[: self._num_tokens].view(-1, size)
        self._ops.gather_heads(of_stream, layout.to_blocks, self._rope, heads)
        outputs = self._scratch.empty(len(layout.to_outputs), size, dtype=qkv.dtype)
        of_blocks: list[Tensor | Recorded] = []
        for block in layout.blocks:
            of_block = self._split(heads, block)
            attended = self._view_outputs(outputs, block)
            if self._uses_ops(block):
                of_blocks.append(self._attend(block, of_block, attended))
            else:
                kept = _attend_by_torch(of_block, attended, self._bounds, records=records)
                of_blocks.append(kept)
        self._ops.gather_heads(outputs, layout.outputs, None, self._cut(out).view(-1, size))
        return Kept(heads, out, of_blocks)

    def _uses_ops(self, block: Block) -> bool:
        """False if torch's fused kernel attends."""
        is_short = block.length <= self._ops.max_attention_length
        return self._device.type == "cpu" and self._bounds is None and is_short

    def backward(self, grad: Tensor, kept: Kept, grad_qkv: Tensor) -> None:
        """Compute the gradient of qkv from that of the output."""
        layout, size = self._layout, self._shape.head_dim
        grad_outputs = self._scratch.empty(len(layout.to_outputs), size, dtype=grad.dtype)
        self._ops.gather_heads(grad.view(-1, size), layout.to_outputs, None, grad_outputs)
        outputs = None
        if any(map(self._needs_output, layout.blocks)):
            outputs = self._scratch.empty(*grad_outputs.shape, dtype=grad.dtype)
            out = kept.out[: self._num_tokens].view(-1, size)
            self._ops.gather_heads(out, layout.to_outputs, None, outputs)
        grad_heads = self._scratch.empty(*kept.heads.shape, dtype=grad.dtype)
        for block, of_block in zip(layout.blocks, kept.of_blocks, strict=True):
            grads = self._split(grad_heads, block)
            upstream = self._view_outputs(grad_outputs, block)
            if isinstance(of_block, Tensor):
                heads = self._split(kept.heads, block)
                attended = None if outputs is None else self._view_outputs(outputs, block)
                self._attend_backward(block, heads, attended, of_block, upstream, grads)
            else:
                computed = torch.autograd.grad(of_block.out, of_block.inputs, upstream)
                for target, of_part in zip(grads, computed, strict=True):
                    target.copy_(of_part)
        for places in layout.shared:
            self._ops.sum_copies(grad_heads, places)
        rows = self._cut(grad_qkv).view(-1, size)
        self._ops.gather_heads_back(grad_heads, layout.from_blocks, self._rope, rows)

    def _attend(self, block: Block, heads: Heads, out: Tensor) -> Tensor:
        return self._ops.attend(heads, out, self._keep)

    def _attend_backward(
        self, block: Block, heads: Heads, out: Tensor | None, kept: Tensor, grad: Tensor,
        grads: Heads,
    ) -> None:  # fmt: skip
        self._ops.attend_backward(heads, out, kept, grad, grads, self._scratch)

    def _needs_output(self, block: Block) -> bool:
        """True if the backward pass of a block needs its output."""
        return self._uses_ops(block) and block.length > self._ops.max_product_length

    def _cut(self, rows: Tensor) -> Tensor:
        """Cut off the rows of padding, after they were set to zero."""
        rows[self._num_tokens :].zero_()
        return rows[: self._num_tokens]

    def _split(self, heads: Tensor, block: Block) -> Heads:
        shape, rows, length = self._shape, block.rows, block.length
        counts = [shape.heads, shape.kv_heads, shape.kv_heads]
        of_block = heads[block.start : block.start + rows * length * sum(counts)]
        parts = of_block.split([rows * length * count for count in counts])
        return Heads(*(part.view(rows, -1, length, shape.head_dim) for part in parts))

    def _view_outputs(self, outputs: Tensor, block: Block) -> Tensor:
        size = block.rows * self._shape.heads * block.length
        of_block = outputs[block.out_start : block.out_start + size]
        return of_block.view(block.rows, -1, block.length, self._shape.head_dim)


def _attend_by_torch(
    heads: Heads, out: Tensor, bounds: RowBounds | None, *, records: bool
) -> Recorded:
    """Attend by torch's fused kernels, recorded by autograd if `records`."""
    # Not `detach`: autograd would take writes to other parts of the memory for changes of these.
    q, k, v = (part.data.requires_grad_(records) for part in heads)
    with torch.set_grad_enabled(records):
        attended = _attend_causally(q, k, v, bounds)
    out.copy_(attended.detach())
    return Recorded((q, k, v), attended)


def _attend_causally(q: Tensor, k: Tensor, v: Tensor, bounds: RowBounds | None) -> Tensor:
    """Attend within padded rows, or within the rows that are laid end to end in a single one."""
    if bounds is None:
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    queries, keys, values = (part[0].transpose(0, 1) for part in (q, k, v))
    ends, length = bounds.ends, bounds.max_length
    attended: Tensor = _get_varlen_attention()(
        queries, keys, values, ends, ends, length, length, window_size=(-1, 0), enable_gqa=True
    )
    return attended.transpose(0, 1)[None]


def _get_varlen_attention() -> Callable[..., Any]:
    # Not imported before it is needed, which is never on a CPU.
    from torch.nn.attention import varlen

    return varlen.varlen_attn


def supports_rows_end_to_end(device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    """True if torch has a kernel for rows of any lengths: FlashAttention 2's."""
    if device.type != "cuda" or torch.version.cuda is None:
        return False
    is_half = dtype in (torch.bfloat16, torch.float16)
    is_ampere = torch.cuda.get_device_capability(device) >= (8, 0)
    return is_half and is_ampere and head_dim % 8 == 0 and head_dim <= 256
