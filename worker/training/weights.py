"""The weights that a job trains, and how they lie on disk."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from peft import PeftModel
from torch import nn

from worker.modeling import adapter_parameters, load_adapter, save_adapter, set_adapter_weights


class TrainableWeights(Protocol):
    """What a checkpoint holds of a model, as files that can be served."""

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """The trained weights by their names on disk."""
        ...

    def save(self, folder: Path) -> None:
        """Write them."""
        ...

    def load(self, folder: Path) -> None:
        """Take up what was written. Raises ValueError if it was made for another shape."""
        ...


@dataclass(frozen=True, slots=True)
class AdapterWeights:
    """The LoRA of a model that PEFT has put it on."""

    model: PeftModel

    def parameters(self) -> Mapping[str, nn.Parameter]:
        return adapter_parameters(self.model)

    def save(self, folder: Path) -> None:
        save_adapter(self.model, folder)

    def load(self, folder: Path) -> None:
        set_adapter_weights(self.model, load_adapter(folder).tensors)
