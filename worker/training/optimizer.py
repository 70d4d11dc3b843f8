"""AdamW with decoupled weight decay on matrices only."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW

from app.recipes.chat import ADAM_BETAS


class _AdamW(AdamW):
    """AdamW by its own methods, not wrapped for torch's compiler, whose import takes a second."""

    add_param_group = AdamW.add_param_group.__wrapped__  # type: ignore[attr-defined]
    load_state_dict = AdamW.load_state_dict.__wrapped__  # type: ignore[attr-defined]
    state_dict = AdamW.state_dict.__wrapped__  # type: ignore[attr-defined]
    zero_grad = AdamW.zero_grad.__wrapped__  # type: ignore[attr-defined]

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        return AdamW.step.__wrapped__(self, closure)  # type: ignore[attr-defined]


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
    return _AdamW(used, betas=ADAM_BETAS, fused=True)
