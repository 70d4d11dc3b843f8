"""Frozen weights in 4 bits, so that larger base models fit: QLoRA's NormalFloat (NF4).

A block of 64 weights has a scale, its largest magnitude in bfloat16, and each weight the nearest of
16 levels, quantiles of the normal distribution: 4.25 bits per weight. Products use weights of the
model's dtype, dequantized for each anew: those of one layer at a time.

Dettmers et al. 2023, "QLoRA: Efficient Finetuning of Quantized LLMs", arXiv:2305.14314; the levels
are those of its appendix E.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.host_memory import release_file_pages
from worker.model.llama_files import Llama
from worker.training.adapter_settings import list_linear_layers
from worker.training.errors import user_error

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BLOCK = 64
# Bytes per weight that dequantizing takes beside the result: those of two weights as an index.
INDEX_BYTES = 2
LEVELS = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)


@dataclass(frozen=True, slots=True)
class Nf4Weight:
    """A weight of `shape`: `codes` [n / 2], two per byte, and `scales` [n / 64]."""

    codes: Tensor
    scales: Tensor
    shape: tuple[int, int]

    @classmethod
    def quantize(cls, weight: Tensor) -> "Nf4Weight":
        """Quantize a matrix whose size is a multiple of BLOCK."""
        blocks = weight.detach().float().reshape(-1, BLOCK)
        largest = blocks.abs().amax(1).to(torch.bfloat16)
        scales = largest.masked_fill(largest == 0, 1)
        levels = torch.tensor(LEVELS, device=weight.device)
        between = (levels[1:] + levels[:-1]) / 2
        codes = torch.bucketize(blocks / scales[:, None], between, out_int32=True).view(-1, 2)
        packed = (codes[:, 0] * len(LEVELS) + codes[:, 1]).to(torch.uint8)
        return cls(packed, scales, (weight.shape[0], weight.shape[1]))

    @classmethod
    def stack(cls, weights: Sequence["Nf4Weight"]) -> "Nf4Weight":
        """Stack weights with the same inputs."""
        codes, scales = (torch.cat(each) for each in zip(*map(cls._parts, weights), strict=True))
        return cls(codes, scales, (sum(w.shape[0] for w in weights), weights[0].shape[1]))

    def split(self, rows: Sequence[int]) -> list["Nf4Weight"]:
        """Split into views of so many rows each."""
        width = self.shape[1]
        codes = self.codes.split([count * width // 2 for count in rows])
        scales = self.scales.split([count * width // BLOCK for count in rows])
        shapes = ((count, width) for count in rows)
        return [Nf4Weight(*parts) for parts in zip(codes, scales, shapes, strict=True)]

    def numel(self) -> int:
        return self.shape[0] * self.shape[1]

    def to(self, dtype: torch.dtype) -> Tensor:
        """Dequantize the weight, in bfloat16, float32 or a wider dtype."""
        computed = dtype if dtype == torch.bfloat16 else torch.float32
        pairs = _list_pairs(computed, self.codes.device).index_select(0, self.codes.int())
        values = pairs.view(computed).view(-1, BLOCK).mul_(self.scales[:, None].to(computed))
        return values.view(self.shape).to(dtype)

    def _parts(self) -> tuple[Tensor, Tensor]:
        return self.codes, self.scales


@lru_cache
def _list_pairs(dtype: torch.dtype, device: torch.device) -> Tensor:
    """List the pairs of levels [256] of all bytes, each in one integer, to look them up at once."""
    levels = torch.tensor(LEVELS, dtype=dtype, device=device)
    pairs = torch.cartesian_prod(levels, levels)
    return pairs.view(torch.int32 if dtype == torch.bfloat16 else torch.int64).flatten()


class _Product(torch.autograd.Function):
    """x·Wᵀ + bias, which keeps no dequantized weight for its backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Nf4Weight, bias: Tensor | None) -> Tensor:
        ctx.weight = weight
        return functional.linear(x, weight.to(x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = upstream
        return grad @ ctx.weight.to(grad.dtype), None, None


class Nf4Linear(nn.Linear):
    """A frozen linear layer. Its parameter `weight` has the codes; PEFT finds the device by it."""

    def __init__(self, layer: nn.Linear, device: torch.device) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        quantized = Nf4Weight.quantize(layer.weight.to(device))
        self.weight = nn.Parameter(quantized.codes, requires_grad=False)
        self.register_buffer("scales", quantized.scales, persistent=False)
        self.register_parameter("bias", layer.bias)

    @property
    def quantized(self) -> Nf4Weight:
        scales: Any = self.scales
        return Nf4Weight(self.weight.data, scales, (self.out_features, self.in_features))

    def move_to(self, weight: Nf4Weight) -> None:
        """Use the memory of an equal weight."""
        self.weight.data, self.scales = weight.codes, weight.scales

    def forward(self, x: Tensor) -> Tensor:
        product: Tensor = _Product.apply(x, self.quantized, self.bias)  # type: ignore[no-untyped-call]
        return product


def quantize_base(base: "Llama | PreTrainedModel", device: torch.device) -> None:
    """Quantize the linear layers of a frozen base model, all but its head, onto the device.

    Raises TrainingError if the model keeps most weights elsewhere.
    """
    for path in find_quantizable(base):
        layer: Any = base.get_submodule(path)
        base.set_submodule(path, Nf4Linear(layer, device))
        # Pages of the model's files, which would be counted as this process's memory.
        release_file_pages(layer.weight.data_ptr(), layer.weight.nbytes)


def find_quantizable(base: "Llama | PreTrainedModel") -> list[str]:
    """Find the linear layers of a model by their paths. Raises TrainingError."""
    paths = list_linear_layers(base)
    layers: list[Any] = [base.get_submodule(path) for path in paths]
    has_experts = any(parameter.dim() == 3 for parameter in base.parameters())
    if has_experts or not all(_is_quantizable(layer) for layer in layers):
        raise user_error(
            "invalid_quantization",
            f"The weights of a base model of the architecture {base.config.model_type!r} cannot be "
            f"quantized: they are not in linear layers whose sizes are multiples of {BLOCK}. Omit "
            "quantization.",
            "quantization",
        )
    return paths


def _is_quantizable(layer: Any) -> bool:
    return isinstance(layer, nn.Linear) and layer.weight.numel() % BLOCK == 0


def is_quantized(model: nn.Module) -> bool:
    return any(isinstance(module, Nf4Linear) for module in model.modules())


def restore_layers(base: nn.Module, full: nn.Module) -> None:
    """Give a base model, with or without adapter, the layers of `full` for quantized ones."""
    quantized = [path for path, each in base.named_modules() if isinstance(each, Nf4Linear)]
    for path in quantized:
        base.set_submodule(path, full.get_submodule(path.replace(".base_layer", "")))
