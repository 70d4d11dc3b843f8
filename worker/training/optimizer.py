"""AdamW with decoupled weight decay on matrices only."""

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import AdamW

from app.recipes.chat import ADAM_BETAS


def build_optimizer(parameters: Iterable[nn.Parameter], *, weight_decay: float) -> AdamW:
    """Build the optimizer. Norms and biases, which are vectors, do not decay.

    Decay pulls weights towards 0, which would scale a norm's output down, and keeps a bias from
    its value without making the model any simpler.
    """
    listed = list(parameters)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in listed if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in listed if p.ndim < 2], "weight_decay": 0.0},
    ]
    used = [group for group in groups if group["params"]]
    return AdamW(used, betas=ADAM_BETAS, fused=True)
