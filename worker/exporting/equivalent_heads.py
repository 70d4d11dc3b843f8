"""Heads of transformers' classes that compute what one linear layer does.

Ours is one linear layer on the states. transformers' classes have further layers before theirs: a
dense one, an activation, in ModernBERT a norm. With the weights chosen here, these change nothing:

tanh    dense is a small multiple of the identity, where tanh is the identity too
paired  dense computes each logit and its negative, z and -z; f(z) - f(-z) is z for ReLU, GELU and
        SiLU, and the last layer subtracts
normed  as `paired`, without an activation; further outputs are large constants, beside which the
        logits do not change the norm's mean and variance

The results are those of the linear layer but for float32's rounding, which is checked for each
exported model. Classes that pool otherwise than the model was trained cannot express it: all but
ModernBERT's take the first token's states.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

# Powers of two, by which weights are multiplied without rounding.
TANH_SCALE = 2.0**-12
CONSTANT = 2.0**14


class HeadKind(StrEnum):
    TANH = "tanh"
    PAIRED = "paired"
    NORMED = "normed"


@dataclass(frozen=True, slots=True)
class HeadLayout:
    """Names of the layers in a class: the dense one, the last one, and the norm between them."""

    kind: HeadKind
    dense: str
    output: str
    norm: str | None = None


_IN_HEAD = ("classifier.dense", "classifier.out_proj")
MODERNBERT = HeadLayout(HeadKind.NORMED, "head.dense", "classifier", "head.norm")
SEQUENCE_LAYOUTS: Mapping[str, HeadLayout] = {
    "albert": HeadLayout(HeadKind.TANH, "albert.pooler", "classifier"),
    "bert": HeadLayout(HeadKind.TANH, "bert.pooler.dense", "classifier"),
    "camembert": HeadLayout(HeadKind.TANH, *_IN_HEAD),
    "deberta": HeadLayout(HeadKind.PAIRED, "pooler.dense", "classifier"),
    "deberta-v2": HeadLayout(HeadKind.PAIRED, "pooler.dense", "classifier"),
    "distilbert": HeadLayout(HeadKind.PAIRED, "pre_classifier", "classifier"),
    "electra": HeadLayout(HeadKind.PAIRED, *_IN_HEAD),
    "modernbert": MODERNBERT,
    "mpnet": HeadLayout(HeadKind.TANH, *_IN_HEAD),
    "roberta": HeadLayout(HeadKind.TANH, *_IN_HEAD),
    "xlm-roberta": HeadLayout(HeadKind.TANH, *_IN_HEAD),
}


def find_layout(config: Any, method: str, pooling: str, num_outputs: int) -> HeadLayout | None:
    """Find the layers to fill in transformers' class for the task; None if it cannot express it."""
    model_type = config.model_type
    if method != "classification":
        # Where the class has one linear layer, no layer needs to be without effect.
        layout = MODERNBERT if model_type == "modernbert" else None
    else:
        layout = SEQUENCE_LAYOUTS.get(model_type)
        if pooling != "cls" and not (model_type == "modernbert" and pooling == "mean"):
            return None
    if layout is None or layout.kind is HeadKind.TANH:
        return layout
    # A norm needs constants beside the pairs.
    needed = 2 * num_outputs + (2 if layout.norm else 0)
    return layout if needed <= config.hidden_size else None


def configure(config: Any, layout: HeadLayout, pooling: str) -> None:
    """Set what the class reads from its config. Before the class is built."""
    if layout is MODERNBERT:
        config.classifier_pooling = pooling if pooling in ("cls", "mean") else "cls"
        config.classifier_activation = "linear"
        config.classifier_bias = True


@torch.no_grad()
def fill(model: PreTrainedModel, layout: HeadLayout, head: nn.Linear) -> None:
    """Make the layers compute what `head` does."""
    dense, output = _get_linear(model, layout.dense), _get_linear(model, layout.output)
    if layout.kind is HeadKind.TANH:
        _set(dense, TANH_SCALE * torch.eye(dense.in_features), torch.zeros(dense.out_features))
        _set(output, head.weight / TANH_SCALE, head.bias)
        return
    rest = dense.out_features - 2 * head.out_features
    filler = torch.zeros(rest, dense.in_features)
    constants = torch.zeros(rest)
    scale = 1.0
    if layout.norm is not None:
        # As many of either sign; an odd number of outputs leaves one at zero.
        constants[: rest // 2], constants[rest - rest // 2 :] = CONSTANT, -CONSTANT
        norm: Any = model.get_submodule(layout.norm)
        norm.weight.fill_(CONSTANT * (2 * (rest // 2) / dense.out_features) ** 0.5)
        if norm.bias is not None:
            norm.bias.zero_()
        scale = 0.5
    _set(
        dense,
        torch.cat([head.weight, -head.weight, filler]),
        torch.cat([head.bias, -head.bias, constants]),
    )
    pairs = scale * torch.eye(head.out_features)
    _set(
        output,
        torch.cat([pairs, -pairs, torch.zeros(head.out_features, rest)], 1),
        torch.zeros(head.out_features),
    )


def _get_linear(model: PreTrainedModel, name: str) -> nn.Linear:
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    return layer


def _set(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)
