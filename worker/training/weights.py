"""Trainable weights of a model, and their files on disk."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from torch import nn

from worker.modeling import adapter_parameters, load_adapter, save_adapter, set_adapter_weights
from worker.training.adapted_llama import AdaptedModel


class TrainableWeights(Protocol):
    """Interface of the weights in a checkpoint, saved in the format that engines serve."""

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """Trainable parameters by their names on disk."""
        ...

    def save(self, folder: Path) -> None:
        """Write the weights to `folder`."""
        ...

    def load(self, folder: Path) -> None:
        """Load what `save` wrote. Raises ValueError if the shapes do not match."""
        ...


@dataclass(frozen=True, slots=True)
class AdapterWeights:
    """LoRA weights of a model with an adapter, saved with `metadata`."""

    model: AdaptedModel
    metadata: Mapping[str, str] = field(default_factory=dict)

    def parameters(self) -> Mapping[str, nn.Parameter]:
        return adapter_parameters(self.model)

    def save(self, folder: Path) -> None:
        save_adapter(self.model, folder, self.metadata)

    def load(self, folder: Path) -> None:
        set_adapter_weights(self.model, load_adapter(folder).tensors)
