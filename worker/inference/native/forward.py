"""Forward passes by native kernels: a token of many sequences, or many tokens of prompts."""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from ctypes import c_int32, c_int64
from itertools import islice

import torch
from torch import Tensor
from torch.nn.functional import embedding

from worker.inference.decoder import PrefillOutput, PromptChunk, split_output
from worker.inference.kv_cache import KvCache
from worker.inference.llama_weights import LlamaBlock, LlamaModel
from worker.inference.lora import LoraAB, LoraWeights
from worker.inference.native.huge_pages import HUGE_PAGE_BYTES, HugePages, copy_together
from worker.inference.native.library import Kernels
from worker.inference.native.linear import NativeLinear, make_blocks
from worker.inference.native.structs import (
    MAX_QUERIES,
    ROWS_PER_GROUP,
    Layer,
    RowGroup,
    RowRange,
    Step,
    make_table,
)
from worker.model.llama import LlamaShape


class _Buffers:
    """Memory of a forward pass for up to `rows` rows."""

    def __init__(
        self, rows: int, shape: LlamaShape, block: LlamaBlock[NativeLinear], dtype: torch.dtype
    ) -> None:
        layers = (block.qkv, block.o, block.gate_up, block.down)
        self.rows = rows
        self.hidden = torch.empty(rows, block.qkv.in_features)
        self.out = torch.empty(rows, max(layer.matrix.output for layer in layers))
        self.queries = torch.empty(rows, shape.heads, shape.head_dim, dtype=dtype)
        # Zeros: what a row is padded with is never written.
        self.x, self.attended, self.activated = (
            torch.zeros(rows, layer.padded_inputs, dtype=dtype)
            for layer in (block.qkv, block.o, block.down)
        )
        self.blocks = make_blocks(rows, max(layer.padded_inputs for layer in layers))

    def set_addresses(self, step: Step) -> None:
        for name in ("hidden", "out", "queries", "x", "attended", "activated", "blocks"):
            setattr(step, name, getattr(self, name).data_ptr())


def _copy_pairs(pairs: Mapping[str, LoraAB]) -> Mapping[str, LoraAB]:
    """Copy an adapter into huge pages, if it fills some: each of many would take one alone."""
    matrices = [matrix for pair in pairs.values() for matrix in (pair.a, *pair.blocks)]
    if sum(matrix.nbytes for matrix in matrices) < HUGE_PAGE_BYTES:
        return pairs
    copies = iter(copy_together(matrices))
    return {
        name: LoraAB(next(copies), tuple(islice(copies, len(pair.blocks))))
        for name, pair in pairs.items()
    }


def _make_embedding(weight: Tensor) -> Callable[[Sequence[int]], Tensor]:
    return lambda tokens: embedding(torch.tensor(tokens), weight)


class NativeForward:
    """Computes logits. A row's numbers do not depend on what is computed with it."""

    def __init__(
        self, model: LlamaModel, cache: KvCache, kernels: Kernels, *, is_int8: bool
    ) -> None:
        memory = HugePages()

        def make_linear(weights: Sequence[Tensor], biases: Sequence[Tensor | None]) -> NativeLinear:
            return NativeLinear(kernels, weights, biases, is_int8=is_int8, memory=memory)

        self._kernels = kernels
        self._shape = model.shape
        self._head = make_linear([model.head], [None])
        # Packed weights of a head that is tied to the embedding serve as both.
        self._embed = (
            self._head.read_rows
            if model.is_tied and not is_int8
            else _make_embedding(model.copy_embedding())
        )
        self._blocks = model.read_blocks(make_linear)
        self._norms = [*(block.attention_norm for block in self._blocks), model.norm]
        self._rope = model.rope_tables(torch.empty(0))
        self._cache = cache
        layers = [self._describe_layer(index, cache) for index in range(model.num_layers)]
        self._layers = (Layer * model.num_layers)(*layers)
        self._first = Layer(next_norm=self._norms[0].data_ptr())
        self._step = self._describe_model()
        self._reserve(len(cache.keys[0]))
        # The adapters of the last pass's rows, and their groups.
        self._adapters: list[LoraWeights | None] = []
        self._z = torch.empty(0, 0)
        self._groups: ctypes.Array[RowGroup] = (RowGroup * 0)()

    def _describe_model(self) -> Step:
        shape, keys = self._shape, self._cache.keys[0]
        cos, sin = self._rope
        return Step(
            dim=self._head.in_features,
            heads=shape.heads,
            kv_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            inner_dim=self._blocks[0].down.in_features,
            slot_stride=keys.stride(0),
            kv_head_stride=keys.stride(1),
            eps=shape.eps,
            cos=cos.data_ptr(),
            sin=sin.data_ptr(),
        )

    def _describe_layer(self, index: int, cache: KvCache) -> Layer:
        block = self._blocks[index]
        return Layer(
            qkv=block.qkv.matrix,
            o=block.o.matrix,
            gate_up=block.gate_up.matrix,
            down=block.down.matrix,
            q_norm=None if block.q_norm is None else block.q_norm.data_ptr(),
            k_norm=None if block.k_norm is None else block.k_norm.data_ptr(),
            mlp_norm=block.mlp_norm.data_ptr(),
            next_norm=self._norms[index + 1].data_ptr(),
            keys=cache.keys[index].data_ptr(),
            values=cache.values[index].data_ptr(),
            index=index,
        )

    def _reserve(self, rows: int) -> None:
        self._buffers = _Buffers(rows, self._shape, self._blocks[0], self._kernels.dtype)
        self._buffers.set_addresses(self._step)

    def forget_adapters(self) -> None:
        self._adapters, self._groups = [], (RowGroup * 0)()

    def make_adapter(self, pairs: Mapping[str, LoraAB]) -> LoraWeights:
        copies = _copy_pairs(pairs)
        return LoraWeights(copies, make_table(copies, len(self._layers)))

    def decode(
        self,
        tokens: Sequence[int],
        slots: Sequence[int],
        positions: Sequence[int],
        adapters: Sequence[LoraWeights | None],
    ) -> Tensor:
        step = self._begin(tokens, slots, positions, adapters)
        self._kernels.decode(step, ctypes.addressof(self._layers), len(self._layers))
        return self._head(self._read(len(slots)))

    def prefill(
        self, chunks: Sequence[PromptChunk], adapters: Sequence[LoraWeights | None]
    ) -> list[PrefillOutput]:
        rows = [(chunk, index) for chunk in chunks for index in range(len(chunk.ids))]
        step = self._begin(
            [chunk.ids[index] for chunk, index in rows],
            [chunk.slot for chunk, _ in rows],
            [chunk.start + index for chunk, index in rows],
            [adapter for chunk, adapter in zip(chunks, adapters, strict=True) for _ in chunk.ids],
        )
        ranges = self._make_ranges([len(chunk.ids) for chunk in chunks])
        self._step.ranges, self._step.num_ranges = ctypes.addressof(ranges), len(ranges)
        self._kernels.prefill(step, ctypes.addressof(self._layers), len(self._layers))
        # The next pass overwrites hidden states.
        hidden = self._read(len(rows)).clone()
        return split_output(hidden, chunks, self._head, self._head.out_features)

    def _make_ranges(self, sizes: Sequence[int]) -> ctypes.Array[RowRange]:
        """Split the rows of each chunk into blocks of queries."""
        most = max(1, MAX_QUERIES * self._shape.kv_heads // self._shape.heads)
        # Of few blocks the threads would get unequal shares, and wait for the last one.
        if sum(sizes) < 2 * most:
            most = (most + 1) // 2
        ranges = []
        begin = 0
        for size in sizes:
            ranges += [
                RowRange(begin + start, min(most, size - start)) for start in range(0, size, most)
            ]
            begin += size
        return (RowRange * len(ranges))(*ranges)

    def _begin(
        self,
        tokens: Sequence[int],
        slots: Sequence[int],
        positions: Sequence[int],
        adapters: Sequence[LoraWeights | None],
    ) -> int:
        """Set up a pass, whose address is returned, and compute the first layer's inputs."""
        step, rows = self._step, len(slots)
        if rows > self._buffers.rows:
            self._reserve(rows)
        if adapters != self._adapters:
            self._group(adapters)
            self._reserve_z(adapters)
        step.groups, step.num_groups = ctypes.addressof(self._groups), len(self._groups)
        step.rows, step.has_lora = rows, any(adapters)
        step.pool = self._kernels.get_threads()
        self._rows = (c_int64 * rows)(*slots), (c_int64 * rows)(*positions)
        step.slots, step.positions = map(ctypes.addressof, self._rows)
        embedded = self._embed(tokens)
        at = ctypes.addressof(step)
        self._kernels.begin(at, ctypes.addressof(self._first), embedded.data_ptr())
        return at

    def _reserve_z(self, adapters: Sequence[LoraWeights | None]) -> None:
        """Reserve memory for products with A, as wide as the highest rank."""
        rank = max((each.max_rank for each in {*adapters} if each is not None), default=0)
        if len(self._z) < len(adapters) or self._z.shape[1] < rank:
            self._z = torch.empty(len(adapters), rank)
        self._step.z, self._step.z_stride = self._z.data_ptr(), self._z.shape[1]

    def _read(self, rows: int) -> Tensor:
        """Read hidden states after the final norm, [rows, hidden size]."""
        return self._buffers.x[:rows, : self._step.dim]

    def _group(self, adapters: Sequence[LoraWeights | None]) -> None:
        """Group rows of one adapter, whose matrices the kernels then read once for all of them."""
        by_adapter: dict[LoraWeights | None, list[int]] = {}
        for row, adapter in enumerate(adapters):
            by_adapter.setdefault(adapter, []).append(row)
        groups = []
        for adapter, rows in by_adapter.items():
            table = None
            if adapter is not None:
                assert adapter.table is not None
                table = ctypes.addressof(adapter.table)
            for start in range(0, len(rows), ROWS_PER_GROUP):
                part = rows[start : start + ROWS_PER_GROUP]
                groups.append(RowGroup(table, len(part), (c_int32 * ROWS_PER_GROUP)(*part)))
        self._adapters, self._groups = list(adapters), (RowGroup * len(groups))(*groups)
