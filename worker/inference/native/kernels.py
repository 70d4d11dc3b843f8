"""The decoding step by native kernels (`kernels.c`), between torch's products with base weights."""

import ctypes
from collections.abc import Mapping, Sequence
from ctypes import Structure, c_float, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from app import logs
from worker.inference.kv_cache import KvCache
from worker.inference.llama_weights import FUSED_LAYERS, LlamaBlock
from worker.inference.lora import LoraAB, LoraWeights
from worker.inference.native.build import KernelsUnavailable, find_or_build

ROWS_PER_GROUP = 4
MAX_PARTS = 3

log = logs.get_logger(__name__)


class KernelsUnusable(Exception):
    """A compiled library does not match this code."""


class _Part(Structure):
    _fields_ = tuple(
        (name, c_int32) for name in ("first_rank", "end_rank", "first_column", "end_column")
    )


class _LoraPair(Structure):
    _fields_ = (
        ("a", c_void_p),
        ("b", c_void_p),
        ("rank", c_int32),
        ("input", c_int32),
        ("output", c_int32),
        ("num_parts", c_int32),
        ("parts", _Part * MAX_PARTS),
    )


class _RowGroup(Structure):
    _fields_ = (("pairs", c_void_p), ("count", c_int32), ("rows", c_int32 * ROWS_PER_GROUP))


class _Layer(Structure):
    _fields_ = (
        ("index", c_int32),
        ("unused", c_int32),
        ("q_norm", c_void_p),
        ("k_norm", c_void_p),
        ("mlp_norm", c_void_p),
        ("next_norm", c_void_p),
        ("keys", c_void_p),
        ("values", c_void_p),
    )


class _Step(Structure):
    _fields_ = (
        ("rows", c_int32),
        ("dim", c_int32),
        ("heads", c_int32),
        ("kv_heads", c_int32),
        ("head_dim", c_int32),
        ("inner_dim", c_int32),
        ("num_groups", c_int32),
        ("threads", c_int32),
        ("slot_stride", c_int64),
        ("kv_head_stride", c_int64),
        ("eps", c_float),
        ("has_lora", c_int32),
        ("groups", c_void_p),
        ("slots", c_void_p),
        ("positions", c_void_p),
        ("cos", c_void_p),
        ("sin", c_void_p),
        ("hidden", c_void_p),
        ("x", c_void_p),
        ("attended", c_void_p),
        ("activated", c_void_p),
        ("parallel", c_void_p),
    )


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes that the kernels need."""

    heads: int
    kv_heads: int
    head_dim: int
    eps: float


class Kernels:
    """A loaded library for one dtype. Raises OSError or KernelsUnusable."""

    def __init__(self, path: Path, dtype: torch.dtype) -> None:
        library = ctypes.CDLL(str(path))
        try:
            library.layout.restype = c_int64
        except AttributeError as error:
            raise KernelsUnusable(f"{path} has no kernels") from error
        sizes = [ctypes.sizeof(kind) for kind in (_Step, _Layer, _RowGroup)]
        expected = (sizes[0] * 1000 + sizes[1]) * 1000 + sizes[2]
        expected = expected * 1000 + ctypes.sizeof(_LoraPair) * 10 + dtype.itemsize
        if library.layout() != expected:
            raise KernelsUnusable(f"{path} has another layout")
        self.dtype = dtype
        self.begin = library.begin
        self.after = [getattr(library, f"after_{name}") for name in ("qkv", "o", "gate_up", "down")]
        for function in (self.begin, *self.after):
            function.argtypes = (c_void_p, c_void_p, c_void_p)
            function.restype = None


def _find_parallel() -> int | None:
    """Address of `GOMP_parallel` in the OpenMP that torch has loaded.

    Threads of another pool would wait for theirs by spinning on the same cores. None where there
    is no such function; then one thread computes.
    """
    try:
        return ctypes.cast(ctypes.CDLL(None).GOMP_parallel, c_void_p).value
    except (AttributeError, OSError):
        return None


def make_table(pairs: Mapping[str, LoraAB], num_layers: int) -> ctypes.Array[_LoraPair]:
    """Describe an adapter's matrices, which must outlive the table, to the kernels."""
    table = (_LoraPair * (num_layers * len(FUSED_LAYERS)))()
    for index in range(num_layers):
        for kind, name in enumerate(FUSED_LAYERS):
            if pair := pairs.get(f"{index}.{name}"):
                table[index * len(FUSED_LAYERS) + kind] = _describe_pair(pair)
    return table


def _describe_pair(pair: LoraAB) -> _LoraPair:
    blocks = pair.blocks or ((0, len(pair.a), 0, pair.b.shape[1]),)
    parts = (_Part * MAX_PARTS)(*(_Part(*block) for block in blocks))
    rank, inputs = pair.a.shape
    return _LoraPair(
        pair.a.data_ptr(),
        pair.b.data_ptr(),
        rank,
        inputs,
        pair.b.shape[1],
        len(blocks),
        parts,
    )


class NativeForward:
    """Computes one token of many rows: products by torch, all between them by `Kernels`."""

    def __init__(
        self,
        kernels: Kernels,
        shape: ModelShape,
        blocks: Sequence[LlamaBlock],
        final_norm: Tensor,
        rope: tuple[Tensor, Tensor],
        cache: KvCache,
    ) -> None:
        self._kernels = kernels
        self._blocks = blocks
        self._rope = rope
        self._final_norm = final_norm
        self._layers = [
            self._describe_layer(index, block, cache) for index, block in enumerate(blocks)
        ]
        self._first = _Layer(next_norm=blocks[0].attention_norm.data_ptr())
        rows = len(cache.keys[0])
        self._inner_dim = blocks[0].down.in_features
        sizes = (len(final_norm), shape.heads * shape.head_dim, self._inner_dim)
        self._buffers = [torch.zeros(rows, size, dtype=kernels.dtype) for size in sizes]
        self._hidden = torch.zeros(rows, len(final_norm))
        keys = cache.keys[0]
        self._step = _Step(
            dim=len(final_norm),
            heads=shape.heads,
            kv_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            inner_dim=self._inner_dim,
            slot_stride=keys.stride(0),
            kv_head_stride=keys.stride(1),
            eps=shape.eps,
            cos=rope[0].data_ptr(),
            sin=rope[1].data_ptr(),
            hidden=self._hidden.data_ptr(),
            x=self._buffers[0].data_ptr(),
            attended=self._buffers[1].data_ptr(),
            activated=self._buffers[2].data_ptr(),
            parallel=_find_parallel(),
        )
        # The adapters of the last step's rows, and their groups.
        self._adapters: list[LoraWeights | None] = []
        self._groups: ctypes.Array[_RowGroup] = (_RowGroup * 0)()

    def _describe_layer(self, index: int, block: LlamaBlock, cache: KvCache) -> _Layer:
        is_last = index + 1 == len(self._blocks)
        next_norm = self._final_norm if is_last else self._blocks[index + 1].attention_norm
        return _Layer(
            index=index,
            q_norm=None if block.q_norm is None else block.q_norm.data_ptr(),
            k_norm=None if block.k_norm is None else block.k_norm.data_ptr(),
            mlp_norm=block.mlp_norm.data_ptr(),
            next_norm=next_norm.data_ptr(),
            keys=cache.keys[index].data_ptr(),
            values=cache.values[index].data_ptr(),
        )

    def forget_adapters(self) -> None:
        self._adapters, self._groups = [], (_RowGroup * 0)()

    def __call__(
        self,
        embedded: Tensor,
        slots: Sequence[int],
        positions: Sequence[int],
        adapters: Sequence[LoraWeights | None],
    ) -> Tensor:
        """Compute hidden states after the final norm, [rows, hidden size].

        They are overwritten by the next call.
        """
        rows = len(slots)
        step = self._step
        if adapters != self._adapters:
            self._group(adapters)
        step.groups, step.num_groups = ctypes.addressof(self._groups), len(self._groups)
        step.rows, step.threads = rows, torch.get_num_threads()
        step.has_lora = any(adapters)
        slot_array, position_array = (c_int64 * rows)(*slots), (c_int64 * rows)(*positions)
        step.slots = ctypes.addressof(slot_array)
        step.positions = ctypes.addressof(position_array)
        self._hidden[:rows] = 0
        x, attended, activated = (buffer[:rows] for buffer in self._buffers)
        after_qkv, after_o, after_gate_up, after_down = self._kernels.after
        at = ctypes.addressof(step)
        self._kernels.begin(at, ctypes.addressof(self._first), embedded.data_ptr())
        for block, layer in zip(self._blocks, self._layers, strict=True):
            # Each product is held by a name until the kernel has read it.
            out = block.qkv(x)
            after_qkv(at, ctypes.addressof(layer), out.data_ptr())
            out = block.o(attended)
            after_o(at, ctypes.addressof(layer), out.data_ptr())
            out = block.gate_up(x)
            after_gate_up(at, ctypes.addressof(layer), out.data_ptr())
            out = block.down(activated)
            after_down(at, ctypes.addressof(layer), out.data_ptr())
        return x

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
                groups.append(_RowGroup(table, len(part), (c_int32 * ROWS_PER_GROUP)(*part)))
        self._adapters, self._groups = list(adapters), (_RowGroup * len(groups))(*groups)


def load_kernels(folder: Path, dtype: torch.dtype) -> Kernels | None:
    """Load the kernels for a dtype, compiling them into `folder` if needed.

    None where that is not possible, which the log says: torch computes the same, more slowly.
    """
    try:
        path = find_or_build(folder, str(dtype).removeprefix("torch."))
        kernels = Kernels(path, dtype)
    except (KernelsUnavailable, KernelsUnusable, OSError) as error:
        log.warning("kernels.unavailable", reason=str(error))
        return None
    log.info("kernels.loaded", library=path.name)
    return kernels
