"""The best weights of a training by a metric of its validation file, and when to stop for it."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from worker.training.weights import Weights

TENSORS = "best.safetensors"
STATE = "best.json"


class Selection:
    """Told of each pass over the data; the weights of the best are kept.

    `patience` is how many passes in a row may bring nothing better; None means all of them.
    """

    def __init__(self, weights: Weights, metric: str, *, patience: int | None) -> None:
        self.metric = metric
        self._weights = weights
        self._patience = patience
        self._value: float | None = None
        self._in_vain = 0
        self._kept: dict[str, Tensor] = {}

    def consider(self, values: Mapping[str, float]) -> None:
        """Look at the metrics of the pass that just ended."""
        value = values.get(self.metric)
        if value is None:
            return
        if self._value is None or value > self._value:
            self._value, self._in_vain = value, 0
            weights = self._weights.parameters().items()
            self._kept = {name: weight.detach().cpu().clone() for name, weight in weights}
        else:
            self._in_vain += 1

    @property
    def is_over(self) -> bool:
        """Whether more passes are not worth their time."""
        return self._patience is not None and self._in_vain >= self._patience

    @torch.no_grad()
    def put_best(self) -> None:
        """Make the weights those of the best pass."""
        parameters = self._weights.parameters()
        for name, value in self._kept.items():
            parameters[name].copy_(value)

    def save(self, folder: Path) -> None:
        """Write what a resumed training has to know."""
        state = {"value": self._value, "in_vain": self._in_vain}
        (folder / STATE).write_text(json.dumps(state), encoding="utf-8")
        if self._kept:
            save_file(self._kept, folder / TENSORS)

    def load(self, folder: Path) -> None:
        """Take up what was written."""
        state = json.loads((folder / STATE).read_bytes())
        self._value, self._in_vain = state["value"], state["in_vain"]
        if (folder / TENSORS).exists():
            self._kept = load_file(folder / TENSORS)
