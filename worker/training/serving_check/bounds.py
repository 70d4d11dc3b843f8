"""Bounds of the difference between the engine's log-probabilities and training's, by dtype.

float32: both compute the same sums in another order, and agree within 1e-6 where probabilities are
neither tiny nor equal. The bounds are a thousand times that, and a miss fails the job.

bfloat16: a difference depends on the model's depth and its outliers, and on the text: no constant
that was measured on one model holds for all. Rounding shows itself alone where no adapter takes
part: in the difference of the *base* model between both codes on the same tokens. The base is
less sure of the answers than the model that learned them, so its difference is usually the larger
one. A tuned model that exceeds it by BASE_FACTOR is noted as a warning, since tuning can also move
the logits to where bfloat16 is coarser. But that measure alone is blind to a fault that both share
(a layer that the engine leaves out, another rotation): it widens the base's difference too. So what
fails a job is absolute, and far from what rounding does to any model: a mean difference of
MAX_ROUNDING, by which a token is a third more or less likely. Where both codes agree on the base
model, only the adapter can be at fault, and training's own rounding of it can be larger: one after
two of Adam's steps, whose weights all have the size of the rate, moved training's log-probabilities
by 0.5 from those of float32, and the native kernels' by 0.03; the base model's differed by 0.07.
There it is ADAPTER_FACTOR times the base model's difference, at most MAX_ADAPTER_ROUNDING.

int8, whatever the dtype of the rest: as bfloat16. What the rounding of the weights does shows in
the base model too.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import torch

from app.catalog import Quantization
from worker.training.serving_check.trained import Logprobs

# In nats: the mean of the tokens' absolute differences, and the difference of the means.
MAX_FLOAT32 = 0.002
MAX_FLOAT32_OF_MEANS = 0.001
MAX_ROUNDING = 0.3
ADAPTER_FACTOR = 10
MAX_ADAPTER_ROUNDING = 0.7
# Up to this difference of the base model, both codes agree on it.
MAX_AGREEING_BASE = 0.15
# Rounding of the tuned model, in multiples of the base model's, and at least.
BASE_FACTOR = 1.5
MIN_BFLOAT16_BOUND = 0.02
MIN_INT8_BOUND = 0.05


class Verdict(StrEnum):
    """Judgement of a difference: rounding explains it, may explain it, or does not."""

    AGREES = "agrees"
    DIFFERS = "differs"
    FAULT = "fault"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Values of the engine and of training on the same tokens of answers.

    mean_difference  mean of the tokens' absolute differences
    base_difference  the same of the base model; None if it was not computed
    bound            what rounding explains of `mean_difference`
    """

    metric: str = "mean_logprob"
    dtype: str
    asked: int
    tokens: int
    served: float
    trained: float
    mean_difference: float
    max_difference: float
    base_difference: float | None
    bound: float

    @property
    def verdict(self) -> Verdict:
        if self.base_difference is None:
            is_close = abs(self.served - self.trained) <= MAX_FLOAT32_OF_MEANS
            agrees = is_close and self.mean_difference <= self.bound
            return Verdict.AGREES if agrees else Verdict.FAULT
        # Not a number is a fault.
        if not self.mean_difference <= self.limit:
            return Verdict.FAULT
        return Verdict.AGREES if self.mean_difference <= self.bound else Verdict.DIFFERS

    @property
    def limit(self) -> float:
        """The difference beyond which it is a fault of the service."""
        if self.base_difference is None:
            return self.bound
        if not self.base_difference <= MAX_AGREEING_BASE:
            return MAX_ROUNDING
        rounding = ADAPTER_FACTOR * self.base_difference
        return min(max(rounding, MAX_ROUNDING), MAX_ADAPTER_ROUNDING)

    def to_report(self) -> dict[str, Any]:
        """Make the report in evaluation.json."""
        return {**asdict(self), "verdict": str(self.verdict)}


def name_precision(dtype: torch.dtype, quantization: str) -> str:
    """Name what a model is served in."""
    return quantization or str(dtype).removeprefix("torch.")


def needs_base(precision: str) -> bool:
    """True if the bound depends on the base model's difference."""
    return precision != "float32"


def compare(
    precision: str,
    trained: tuple[Sequence[Logprobs], Sequence[Logprobs]],
    served: tuple[Sequence[Logprobs], Sequence[Logprobs]],
) -> Comparison:
    """Compare the log-probabilities of the tuned model, and the base's if they are needed."""
    (own, own_base), (engines, engines_base) = trained, served
    differences = _differences(own, engines)
    base = None
    if needs_base(precision):
        base = float(_differences(own_base, engines_base).mean())
    least = MIN_INT8_BOUND if precision == Quantization.INT8 else MIN_BFLOAT16_BOUND
    bound = MAX_FLOAT32 if base is None else max(least, BASE_FACTOR * base)
    return Comparison(
        dtype=precision,
        asked=len(own),
        tokens=len(differences),
        served=float(np.concatenate(engines).mean()),
        trained=float(np.concatenate(own).mean()),
        mean_difference=float(differences.mean()),
        max_difference=float(differences.max()),
        base_difference=base,
        bound=min(bound, MAX_ROUNDING),
    )


def _differences(own: Sequence[Logprobs], engines: Sequence[Logprobs]) -> Logprobs:
    return np.abs(np.concatenate(engines) - np.concatenate(own))
