"""The full weights of a base model that was quantized in training, which its adapter is served on.

What quantization itself changes is reported to the job's owner, and is no fault of the engine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.model.weight_counts import count_weights
from worker.run_folder import Noted
from worker.training.adapted_llama import AdaptedModel
from worker.training.forward import CausalLM, choose_causal_lm
from worker.training.nf4 import restore_layers
from worker.training.preloading import load_base


@dataclass(frozen=True, slots=True)
class FullWeights:
    """Restores the layers of a model with an adapter from its base model's folder."""

    folder: Path
    model: AdaptedModel

    def count_bytes(self) -> int:
        base: Any = self.model.get_base_model()
        return count_weights(self.folder).total * int(base.dtype.itemsize)

    def restore(self) -> CausalLM:
        """Load the full layers in place of the quantized ones; return the model that has them."""
        base: Any = self.model.get_base_model()
        # The pages of the files that the model had before it was quantized, where it had some.
        restore_layers(base, load_base(self.folder, dtype=base.dtype, device=base.device))
        return choose_causal_lm(self.model)


def describe_missing(reason: str) -> Noted:
    """Describe why log-probabilities with full weights were not computed."""
    message = (
        "The adapter was trained on quantized weights, and is served on the full ones. What that "
        f"changes was not measured: {reason}"
    )
    return Noted(key="quantization", message=message, is_warning=True)


def describe_quantization(
    rounded: Sequence[NDArray[np.float32]], full: Sequence[NDArray[np.float32]], file: str
) -> Noted:
    """Describe the log-probabilities of answers with quantized and with full weights."""
    trained, served = np.concatenate(rounded), np.concatenate(full)
    message = (
        "The adapter was trained on quantized weights, and is served on the full ones: the mean "
        f"log-probability is {trained.mean():.4f} with the former and {served.mean():.4f} with the "
        f"latter, and that of a token differs by {np.abs(served - trained).mean():.2g} on average, "
        f"on {len(served)} tokens of answers of the {file}"
    )
    return Noted(key="quantization", message=message)
