"""Estimate of a training process's memory: weights, adapter, optimizer, activations."""

from collections.abc import Mapping
from typing import Any

from app.recipes.chat import NF4_BYTES_PER_WEIGHT, BaseQuantization
from app.wire.training_rows import ModelFacts

# Of a training process on a CPU without a model, after some dozens of steps, which leave code of
# products of many shapes. Measured.
PROCESS_BYTES = 550 * 2**20
# Linear layers of a decoder layer. Each has the model's width on one side.
MATRICES_PER_LAYER = 7
# Numbers that a layer keeps of a token for the backward pass, as a share of the sizes of its
# matrices, inputs and outputs; in addition, those of two layers are computed on. This is the step
# written by hand: other architectures keep more.
KEPT_SHARE = 0.74
SCRATCH_LAYERS = 2
# Of each trained number of an adapter: itself, gradient, both moments of Adam, and copies in the
# model's dtype; of an encoder's weights those beside the weights themselves.
BYTES_PER_ADAPTER_NUMBER = 20
BYTES_PER_TRAINED_WEIGHT = 12
FLOAT32_BYTES = 4


def estimate_memory(
    facts: ModelFacts, tokens: int, settings: Mapping[str, Any], *, rank: int
) -> int:
    """Estimate the peak in bytes of training itself.

    `tokens` are those of the largest micro-batch, `settings` resolved hyperparameters, `rank` that
    of an adapter on all layers.
    """
    weights = facts.num_parameters * facts.bytes_per_parameter
    if settings.get("quantization") == BaseQuantization.NF4:
        saved = facts.bytes_per_parameter - NF4_BYTES_PER_WEIGHT
        weights -= round(facts.layer_parameters * saved)
    if settings.get("tuning") == "full":
        trained = BYTES_PER_TRAINED_WEIGHT * facts.layer_parameters
    else:
        trained = _count_adapter_bytes(facts, rank)
    kept = facts.hidden_size if settings.get("gradient_checkpointing") else _count_kept(facts)
    numbers = facts.num_layers * kept + SCRATCH_LAYERS * _count_kept(facts)
    return PROCESS_BYTES + weights + trained + round(tokens * numbers * facts.bytes_per_parameter)


def estimate_comparison_memory(facts: ModelFacts, peak: int) -> int:
    """Estimate the peak in bytes after training on weights in 4 bits, given that of training.

    For the comparison with the full weights these are read, and the head is converted to float32.
    """
    layers = facts.bytes_per_parameter * facts.layer_parameters
    return peak + layers + FLOAT32_BYTES * (facts.num_parameters - facts.layer_parameters)


def _count_adapter_bytes(facts: ModelFacts, rank: int) -> int:
    return BYTES_PER_ADAPTER_NUMBER * rank * facts.num_layers * _count_sizes(facts)


def _count_kept(facts: ModelFacts) -> float:
    return KEPT_SHARE * _count_sizes(facts)


def _count_sizes(facts: ModelFacts) -> int:
    """Count the inputs and outputs of a layer's matrices, of which there are as many as Llama's."""
    others = facts.layer_parameters // max(1, facts.num_layers * facts.hidden_size)
    return others + MATRICES_PER_LAYER * facts.hidden_size
