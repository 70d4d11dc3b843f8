"""Memory plan of a GPU: the tokens of a micro-batch that fit, and whether activations are kept.

Computed from the shape of a Llama-shaped model and the memory that is free once it is loaded. The
counts follow `llama.py`: what a layer keeps for the backward pass, and what the backward pass of
one layer needs in addition, the widest weight dequantized from 4 bits among it. Other models have
the fixed limits, and smaller ones if these fail.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from app.recipes.chat import drop_auto
from worker.model.llama import LlamaShape
from worker.modeling import adapter_parameters, read_adapter_config
from worker.run_folder import RunSpec
from worker.training import llama
from worker.training.adapted_llama import AdaptedModel
from worker.training.base_loading import wants_sharded_base
from worker.training.nf4 import INDEX_BYTES, is_quantized
from worker.training.ranks import Ranks

# Left to the allocator, whose blocks never fit exactly, to the loss's logits, and to libraries.
RESERVED_SHARE = 0.1
RESERVED_BYTES = 2 * 10**9
# Fewer tokens at a time leave a GPU idle for longer than computing activations again takes.
MIN_TOKENS = 2048
# Of each trained number: gradient, both moments of Adam, and copies in the model's dtype.
BYTES_PER_TRAINED_NUMBER = 20


@dataclass(frozen=True, slots=True)
class TokenBytes:
    """Memory of a step per token: with all activations, and with those of one layer at a time."""

    keeping: int
    recomputing: int

    @classmethod
    def of(
        cls, config: Any, rank: int, dtype: torch.dtype, *, has_dropout: bool = False
    ) -> "TokenBytes":
        """Count for a model of this configuration with adapters of a rank on all layers."""
        shape = LlamaShape.of(config)
        d, n, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
        q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        # Norms' outputs and a residual; heads; outputs of attention and of its kernel; gate and up.
        layer = 3 * d + (q + 2 * kv) + 2 * q + 2 * n + 7 * rank
        if config.model_type == "qwen3":
            layer += 2 * (q + kv)
        if has_dropout:
            # Factors of the inputs of each product.
            layer += 2 * d + q + n
        streams = (layers + 1) * d
        # The widest point of the backward pass is that of the MLP, whose passes need copies.
        scratch = 7 * n + 10 * d
        numbers = streams + layers * layer + scratch, streams + layer + scratch
        return cls(*(dtype.itemsize * number for number in numbers))


def plan_recomputation(
    spec: RunSpec, model: AdaptedModel, rows: Sequence[Any], ranks: Ranks
) -> dict[str, Any]:
    """Keep no activations if the model's device has too little memory, and nobody decided."""
    if "gradient_checkpointing" in drop_auto(spec.hyperparameters):
        return {}
    if wants_sharded_base(spec, ranks):
        return {"gradient_checkpointing": True}
    longest = max(row.num_tokens for row in rows)
    return {"gradient_checkpointing": True} if must_recompute(model, longest) else {}


def must_recompute(model: AdaptedModel, longest_row: int) -> bool:
    """True if too few tokens fit, or not the longest row, when all activations are kept."""
    fitting = _count_fitting(model)
    return fitting is not None and fitting[0] < max(longest_row, MIN_TOKENS)


def limit_tokens(model: AdaptedModel, max_tokens: int, *, recomputes: bool) -> int:
    """Reduce `max_tokens` of a micro-batch to those that fit, at least one."""
    fitting = _count_fitting(model)
    return max_tokens if fitting is None else max(1, min(max_tokens, fitting[recomputes]))


def count_fitting(token_bytes: TokenBytes, free: int, trained: int) -> Sequence[int]:
    """Count the tokens that fit into `free` bytes if activations are kept, and if they are not."""
    room = (1 - RESERVED_SHARE) * free - RESERVED_BYTES - BYTES_PER_TRAINED_NUMBER * trained
    return [max(0, int(room / each)) for each in (token_bytes.keeping, token_bytes.recomputing)]


def count_dequantizing(config: Any, dtype: torch.dtype) -> int:
    """Count the bytes that dequantizing the widest weight, gate and up, takes."""
    width = INDEX_BYTES + dtype.itemsize
    return int(width * 2 * config.intermediate_size * config.hidden_size)


def _count_fitting(model: AdaptedModel) -> Sequence[int] | None:
    """Count them on this model's GPU; None without one, and for other models."""
    if model.device.type != "cuda" or not llama.supports(model):
        return None
    base: Any = model.get_base_model()
    # Blocks that the allocator holds and nobody uses are free too.
    unused = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    free = torch.cuda.mem_get_info()[0] + unused
    if is_quantized(model):
        free -= count_dequantizing(base.config, base.dtype)
    trained = sum(parameter.numel() for parameter in adapter_parameters(model).values())
    lora = read_adapter_config(model)
    has_dropout = lora["lora_dropout"] > 0
    token_bytes = TokenBytes.of(base.config, lora["r"], base.dtype, has_dropout=has_dropout)
    return count_fitting(token_bytes, free, trained)
