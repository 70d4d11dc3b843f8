"""The structs of the native kernels (`kernels.c` and its headers), as ctypes sees them."""

import ctypes
from collections.abc import Mapping
from ctypes import Structure, c_float, c_int8, c_int32, c_int64, c_void_p

from worker.inference.lora import LoraAB
from worker.model.llama import FUSED_LAYERS

ROWS_PER_GROUP = 4
MAX_PARTS = 3
# Rows of inputs and outputs of products are padded to a multiple of this.
PANEL = 32
# Keys of a tile in attention, which are padded to a multiple of this.
KEYS = 64
# Queries that are computed together; a thread holds their sums on its stack.
MAX_QUERIES = 192
# Numbers of the widest vectors, to whose multiples what is computed by whole vectors is padded.
MAX_LANES = 16
# Inputs that are quantized together.
BLOCK = 32
# Numbers of a parameter that one thread updates at once.
UNIT_NUMBERS = 16384


def whole_vectors(numbers: int) -> int:
    """Round up to whole vectors of any CPU."""
    return -(-numbers // MAX_LANES) * MAX_LANES


class _Part(Structure):
    _fields_ = (
        ("b", c_void_p),
        ("first_rank", c_int32),
        ("end_rank", c_int32),
        ("first_column", c_int32),
        ("end_column", c_int32),
    )


class LoraPair(Structure):
    _fields_ = (
        ("a", c_void_p),
        ("rank", c_int32),
        ("input", c_int32),
        ("output", c_int32),
        ("num_parts", c_int32),
        ("parts", _Part * MAX_PARTS),
    )


class TrainedPart(Structure):
    _fields_ = (
        ("b", c_void_p),
        ("b_gradient", c_void_p),
        ("first_column", c_int32),
        ("columns", c_int32),
        ("first_rank", c_int32),
        ("rank", c_int32),
        ("first_z", c_int32),
        ("unused", c_int32),
    )


class TrainedLora(Structure):
    _fields_ = (
        ("a", c_void_p),
        ("a_gradient", c_void_p),
        ("input", c_int32),
        ("output", c_int32),
        ("width", c_int32),
        ("max_rank", c_int32),
        ("num_parts", c_int32),
        ("scaling", c_float),
        ("parts", TrainedPart * MAX_PARTS),
    )


class RowGroup(Structure):
    _fields_ = (("pairs", c_void_p), ("count", c_int32), ("rows", c_int32 * ROWS_PER_GROUP))


class RowRange(Structure):
    _fields_ = (("first_row", c_int32), ("count", c_int32))


class Matrix(Structure):
    _fields_ = (
        ("panels", c_void_p),
        ("bias", c_void_p),
        ("input", c_int32),
        ("output", c_int32),
        ("is_int8", c_int32),
        ("unused", c_int32),
    )


class RowBlock(Structure):
    _fields_ = (("scale", c_float), ("offset", c_int32), ("values", c_int8 * 2 * BLOCK))


class Layer(Structure):
    _fields_ = (
        ("qkv", Matrix),
        ("o", Matrix),
        ("gate_up", Matrix),
        ("down", Matrix),
        ("q_norm", c_void_p),
        ("k_norm", c_void_p),
        ("mlp_norm", c_void_p),
        ("next_norm", c_void_p),
        ("keys", c_void_p),
        ("values", c_void_p),
        ("index", c_int64),
    )


class Threads(Structure):
    _fields_ = (("parallel", c_void_p), ("num_threads", c_void_p), ("count", c_int64))


class Step(Structure):
    _fields_ = (
        ("rows", c_int32),
        ("dim", c_int32),
        ("heads", c_int32),
        ("kv_heads", c_int32),
        ("head_dim", c_int32),
        ("inner_dim", c_int32),
        ("num_groups", c_int32),
        ("has_lora", c_int32),
        ("slot_stride", c_int64),
        ("kv_head_stride", c_int64),
        ("groups", c_void_p),
        ("ranges", c_void_p),
        ("slots", c_void_p),
        ("positions", c_void_p),
        ("cos", c_void_p),
        ("sin", c_void_p),
        ("hidden", c_void_p),
        ("out", c_void_p),
        ("x", c_void_p),
        ("queries", c_void_p),
        ("attended", c_void_p),
        ("activated", c_void_p),
        ("blocks", c_void_p),
        ("z", c_void_p),
        ("pool", Threads),
        ("eps", c_float),
        ("z_stride", c_int32),
        ("num_ranges", c_int32),
        ("unused", c_int32),
    )


class Parameter(Structure):
    """A trained parameter, of whose numbers a unit has `UNIT_NUMBERS`, for AdamW."""

    _fields_ = (
        ("weights", c_void_p),
        ("mean", c_void_p),
        ("square", c_void_p),
        ("gradient", c_void_p),
        ("count", c_int64),
        ("first_unit", c_int64),
        ("shrink", c_float),
        ("step_size", c_float),
        ("root_scale", c_float),
        ("is_wide", c_int32),
    )


def compute_layout(itemsize: int) -> int:
    """Compute what `layout` of a library for numbers of this size must return."""
    digest = itemsize + ctypes.sizeof(RowBlock) + KEYS + ctypes.sizeof(Parameter) + UNIT_NUMBERS
    digest += ctypes.sizeof(TrainedLora) + MAX_LANES
    for kind in (Step, Layer, RowGroup, LoraPair):
        digest = digest * 1000 + ctypes.sizeof(kind)
    return digest


def make_table(pairs: Mapping[str, LoraAB], num_layers: int) -> ctypes.Array[LoraPair]:
    """Describe an adapter's matrices, which must outlive the table, to the kernels."""
    table = (LoraPair * (num_layers * len(FUSED_LAYERS)))()
    for index in range(num_layers):
        for kind, name in enumerate(FUSED_LAYERS):
            if pair := pairs.get(f"{index}.{name}"):
                table[index * len(FUSED_LAYERS) + kind] = _describe_pair(pair)
    return table


def _describe_pair(pair: LoraAB) -> LoraPair:
    parts, first_rank, first_column = [], 0, 0
    for block in pair.blocks:
        rank, columns = block.shape
        end_rank, end_column = first_rank + rank, first_column + columns
        if rank:
            parts.append(_Part(block.data_ptr(), first_rank, end_rank, first_column, end_column))
        first_rank, first_column = end_rank, end_column
    rank, inputs = pair.a.shape
    return LoraPair(
        pair.a.data_ptr(), rank, inputs, first_column, len(parts), (_Part * MAX_PARTS)(*parts)
    )
