"""Gradient checkpointing: a layer's activations are computed again in the backward pass, not kept.

Only the input of each decoder layer is kept. The backward pass runs the layer's operations a second
time: norms, projections with their adapters, rotary embedding, attention and MLP, with the same
dropout masks. Embedding, last norm, head and loss run once. The operations and their inputs are the
same, and so are the bits where operations are deterministic.

Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call `function`; its backward pass calls it again instead of keeping its activations."""
    return checkpoint(function, *args, use_reentrant=False, **kwargs)


def recompute_layers(model: nn.Module) -> int:
    """Have the layers of a model of transformers recomputed; return their number.

    Its own switch acts in training mode only, which would turn on the base model's dropouts.
    """
    layers = list_layers(model)
    for layer in layers:
        # The class's `forward` stays as it is: other models use it too.
        layer.forward = partial(recompute, layer.forward)
    return len(layers)


def list_layers(model: nn.Module) -> list[nn.Module]:
    """List the layers that transformers marks as fit for it, without those inside another."""
    # Models of transformers have imported it.
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers: list[nn.Module] = []
    for child in model.children():
        is_layer = isinstance(child, GradientCheckpointingLayer)
        layers += [child] if is_layer else list_layers(child)
    return layers
