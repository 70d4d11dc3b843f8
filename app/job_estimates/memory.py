"""Estimate of a training process's memory: weights, optimizer, activations."""

from collections.abc import Mapping
from typing import Any

from app.recipes.chat import NF4_BYTES_PER_WEIGHT, BaseQuantization
from app.wire.training_rows import ModelFacts

# Of the training process without a model, and of a token of a micro-batch: the activations that a
# layer keeps for the backward pass, per unit of the model's width, with what allocators lose.
# Measured on CPUs.
PROCESS_BYTES = 900 * 2**20
ACTIVATION_BYTES_PER_UNIT = 48


def estimate_memory(facts: ModelFacts, tokens: int, settings: Mapping[str, Any]) -> int:
    """Estimate the peak in bytes of training itself.

    `tokens` are those of the largest micro-batch, `settings` resolved hyperparameters. The
    comparison with the engine after it loads the base model anew, if there is memory left.
    """
    weights = facts.num_parameters * facts.bytes_per_parameter
    if settings.get("quantization") == BaseQuantization.NF4:
        saved = facts.bytes_per_parameter - NF4_BYTES_PER_WEIGHT
        weights -= round(facts.layer_parameters * saved)
    # Gradients, and both moments of Adam, in float32.
    trained = 12 * facts.layer_parameters if settings.get("tuning") == "full" else 0
    layers = tokens * facts.num_layers * facts.hidden_size
    # Of each layer its input alone, if the others are computed again.
    per_unit = (
        facts.bytes_per_parameter
        if settings.get("gradient_checkpointing")
        else ACTIVATION_BYTES_PER_UNIT
    )
    return PROCESS_BYTES + weights + trained + layers * per_unit
