"""Best weights by a validation metric, and early stopping."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from worker.training.weights import TrainableWeights

BEST_WEIGHTS_FILE = "best.safetensors"
BEST_STATE_FILE = "best.json"


class BestWeights:
    """Keeps the weights of the epoch with the highest value of `metric`.

    `patience` is the number of consecutive epochs without improvement after which training stops
    early; None never stops it.
    """

    def __init__(self, weights: TrainableWeights, metric: str, *, patience: int | None) -> None:
        self.metric = metric
        self._weights = weights
        self._patience = patience
        self._best_value: float | None = None
        self._bad_epochs = 0
        self._best: dict[str, Tensor] = {}

    def update(self, values: Mapping[str, float]) -> None:
        """Compare the epoch that just ended with the best so far."""
        value = values.get(self.metric)
        if value is None:
            return
        if self._best_value is None or value > self._best_value:
            self._best_value, self._bad_epochs = value, 0
            weights = self._weights.parameters().items()
            self._best = {name: weight.detach().cpu().clone() for name, weight in weights}
        else:
            self._bad_epochs += 1

    @property
    def is_out_of_patience(self) -> bool:
        """True if training should stop early."""
        return self._patience is not None and self._bad_epochs >= self._patience

    @torch.no_grad()
    def restore(self) -> None:
        """Set the model's weights to those of the best epoch."""
        parameters = self._weights.parameters()
        for name, value in self._best.items():
            parameters[name].copy_(value)

    def save(self, folder: Path) -> None:
        """Write the best weights and the state that a resumed run needs."""
        state = {"value": self._best_value, "bad_epochs": self._bad_epochs}
        (folder / BEST_STATE_FILE).write_text(json.dumps(state), encoding="utf-8")
        if self._best:
            save_file(self._best, folder / BEST_WEIGHTS_FILE)

    def load(self, folder: Path) -> None:
        """Load what `save` wrote."""
        state = json.loads((folder / BEST_STATE_FILE).read_bytes())
        self._best_value = state["value"]
        # Checkpoints written before 0.1.0 call it `in_vain`.
        self._bad_epochs = state["in_vain"] if "in_vain" in state else state["bad_epochs"]
        if (folder / BEST_WEIGHTS_FILE).exists():
            self._best = load_file(folder / BEST_WEIGHTS_FILE)
