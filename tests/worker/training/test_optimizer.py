"""Weight decay: on matrices, not on norms and biases."""

import torch
from torch import nn

from worker.training.optimizer import build_optimizer


def test_only_matrices_decay() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    for parameter in model.parameters():
        parameter.data.fill_(1.0)
        parameter.grad = torch.zeros_like(parameter)
    optimizer = build_optimizer(model.parameters(), weight_decay=0.5)
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    optimizer.step()
    values = {name: parameter.flatten()[0].item() for name, parameter in model.named_parameters()}
    assert round(values.pop("0.weight"), 6) == 0.95
    assert set(values.values()) == {1.0}
