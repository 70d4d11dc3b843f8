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
# Checkpoints of earlier versions do not say which epoch was compared last.
UNKNOWN_STEP = -1


class BestWeights:
    """Keeps the weights of the epoch with the best value of `metric`.

    Higher values are better, except of a loss. `patience` is the number of consecutive epochs
    without improvement after which training stops early; None never stops it. Without `keep` only
    the values are compared, and the last epoch's weights stay.
    """

    def __init__(
        self,
        weights: TrainableWeights,
        metric: str,
        *,
        patience: int | None,
        keep: bool = True,
    ) -> None:
        self.metric = metric
        self._weights = weights
        self.patience = patience
        self._keep = keep
        self._best_value: float | None = None
        self._bad_epochs = 0
        self._compared_step: int | None = None
        self.best_step: int | None = None
        # The validation metrics of the best epoch.
        self.best_metrics: dict[str, float] = {}
        self._best: dict[str, Tensor] = {}

    def update(self, step: int, values: Mapping[str, float]) -> None:
        """Compare the epoch that ended at `step` with the best so far."""
        value = values.get(self.metric)
        if value is None:
            return
        self._compared_step = step
        if self._best_value is None or self._is_better(value, self._best_value):
            self._best_value, self._bad_epochs, self.best_step = value, 0, step
            self.best_metrics = {k: v for k, v in values.items() if not k.startswith("train_")}
            self._best = self._copy_weights() if self._keep else {}
        else:
            self._bad_epochs += 1

    def has_compared(self, step: int) -> bool:
        """True if the epoch that ended at `step` was compared."""
        return self._compared_step in (step, UNKNOWN_STEP)

    def _is_better(self, value: float, than: float) -> bool:
        return value < than if self.metric.endswith("loss") else value > than

    def _copy_weights(self) -> dict[str, Tensor]:
        weights = self._weights.parameters().items()
        return {name: weight.detach().cpu().clone() for name, weight in weights}

    @property
    def is_out_of_patience(self) -> bool:
        """True if training should stop early."""
        return self.patience is not None and self._bad_epochs >= self.patience

    @property
    def keeps_best(self) -> bool:
        """True if `restore` goes back to the best epoch."""
        return self._keep

    @torch.no_grad()
    def restore(self) -> None:
        """Set the model's weights to those of the best epoch."""
        parameters = self._weights.parameters()
        for name, value in self._best.items():
            parameters[name].copy_(value)

    def save(self, folder: Path) -> None:
        """Write the best weights and the state that a resumed run needs."""
        state = {
            "value": self._best_value,
            "bad_epochs": self._bad_epochs,
            "best_step": self.best_step,
            "best_metrics": self.best_metrics,
            "compared_step": self._compared_step,
        }
        (folder / BEST_STATE_FILE).write_text(json.dumps(state), encoding="utf-8")
        if self._best:
            save_file(self._best, folder / BEST_WEIGHTS_FILE)

    def load(self, folder: Path) -> None:
        """Load what `save` wrote; nothing from a checkpoint of a version that kept no best one."""
        if not (folder / BEST_STATE_FILE).exists():
            return
        state = json.loads((folder / BEST_STATE_FILE).read_bytes())
        self._best_value = state["value"]
        # Checkpoints written before 0.1.0 call it `in_vain`.
        self._bad_epochs = state["in_vain"] if "in_vain" in state else state["bad_epochs"]
        self.best_step = state.get("best_step")
        self.best_metrics = state.get("best_metrics", {})
        self._compared_step = state.get("compared_step", UNKNOWN_STEP)
        if (folder / BEST_WEIGHTS_FILE).exists():
            self._best = load_file(folder / BEST_WEIGHTS_FILE)
