"""Weights as int8 in blocks of 32 inputs that share a scale, as in llama.cpp's Q8_0."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

BLOCK = 32
MAX_VALUE = 127


@dataclass(frozen=True, slots=True)
class QuantizedWeight:
    """Values int8 [out, blocks, 32] and scales bfloat16 [out, blocks]."""

    values: Tensor
    scales: Tensor


def quantize(weight: Tensor) -> QuantizedWeight:
    """Quantize [out, in], whose inputs are whole blocks.

    Scales are rounded up to bfloat16 before the values are computed with them: no value is
    clamped, and the scale's rounding is no error of its own.
    """
    blocks = weight.float().unflatten(1, (-1, BLOCK))
    scales = _round_up(blocks.abs().amax(dim=-1) / MAX_VALUE)
    divisors = scales.float().masked_fill(scales == 0, 1.0)
    return QuantizedWeight((blocks / divisors[..., None]).round().to(torch.int8), scales)


def _round_up(numbers: Tensor) -> Tensor:
    """Round non-negative numbers up to bfloat16, whose bits are the upper half of float32's."""
    bits = numbers.view(torch.int32) + 0xFFFF
    return (bits & ~0xFFFF).view(torch.float32).to(torch.bfloat16)


def round_to_int8(weight: Tensor) -> Tensor:
    """Round to the values of the quantized weight [out, in], in the weight's own dtype."""
    quantized = quantize(pad(weight, (0, -weight.shape[1] % BLOCK)))
    rounded = (quantized.values * quantized.scales.float()[..., None]).flatten(1)
    return rounded[:, : weight.shape[1]].to(weight.dtype).contiguous()
