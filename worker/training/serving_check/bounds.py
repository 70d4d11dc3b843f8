"""Bounds of the difference between the engine's log-probabilities and training's, by dtype.

Training computes its values in float32 (`trained.py`), so that a difference is the engine's own
rounding, or a fault. What rounding does depends on what the engine computes in:

precision            usual  fault
float32              0.002  0.002  both compute the same sums in another order: 1e-6
bfloat16             0.05   0.15   products alone; what is between them is in float32
int8                 0.1    0.3    weights and inputs of products by blocks of 32
bfloat16 throughout  0.15   0.7    other families, by transformers' own code

in nats, the mean of the tokens' absolute differences. Between both, the owner of the job is warned.

An adapter with a wrong scaling is served almost as it was trained if the error is small, and stays
within these bounds. But it moves all tokens in the same direction: that of an adapter whose effect
is larger, which training measures. The error of the scaling is the slope of the differences over
it. It is a fault where it exceeds MAX_SCALING_ERROR and is MIN_SIGNIFICANCE times its own standard
error: rounding has no direction. Below half of the usual difference a single token may decide the
slope, and it is not judged.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import torch

from app.catalog import Quantization
from worker.training.serving_check.trained import PROBED_SCALING, Logprobs

FLOAT32 = "float32"
THROUGHOUT = "bfloat16 throughout"
MAX_FLOAT32_OF_MEANS = 0.001
# Usual difference, and that of a fault.
BOUNDS: Mapping[str, tuple[float, float]] = {
    FLOAT32: (0.002, 0.002),
    "bfloat16": (0.05, 0.15),
    Quantization.INT8: (0.1, 0.3),
    THROUGHOUT: (0.15, 0.7),
}
MAX_SCALING_ERROR = 0.05
MIN_SIGNIFICANCE = 8


class Verdict(StrEnum):
    """Judgement of a difference: rounding explains it, may explain it, or does not."""

    AGREES = "agrees"
    DIFFERS = "differs"
    FAULT = "fault"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Values of the engine and of training on the same tokens of answers.

    mean_difference  mean of the tokens' absolute differences
    scaling_error    share by which the adapter's effect is larger by the engine; None in float32
    significance     of that, in multiples of its standard error
    bound            what rounding usually explains of `mean_difference`
    limit            the difference beyond which it is a fault of the service
    """

    metric: str = "mean_logprob"
    dtype: str
    asked: int
    tokens: int
    served: float
    trained: float
    mean_difference: float
    max_difference: float
    scaling_error: float | None
    significance: float | None
    bound: float
    limit: float

    @property
    def verdict(self) -> Verdict:
        # Not a number is a fault.
        if not self.mean_difference <= self.limit or self.is_scaled_otherwise:
            return Verdict.FAULT
        if self.dtype == FLOAT32 and not abs(self.served - self.trained) <= MAX_FLOAT32_OF_MEANS:
            return Verdict.FAULT
        return Verdict.AGREES if self.mean_difference <= self.bound else Verdict.DIFFERS

    @property
    def is_scaled_otherwise(self) -> bool:
        if self.scaling_error is None or self.significance is None:
            return False
        is_large = abs(self.scaling_error) > MAX_SCALING_ERROR
        is_visible = self.mean_difference > self.bound / 2
        return is_visible and is_large and self.significance > MIN_SIGNIFICANCE

    def to_report(self) -> dict[str, Any]:
        """Make the report in evaluation.json."""
        return {**asdict(self), "verdict": str(self.verdict)}


def name_precision(dtype: torch.dtype, quantization: str, *, is_throughout: bool = False) -> str:
    """Name what a model is served in."""
    name = str(dtype).removeprefix("torch.")
    if is_throughout and not quantization and name != FLOAT32:
        return THROUGHOUT
    return quantization or name


def is_rounded(precision: str) -> bool:
    """True if rounding hides a small error of the scaling."""
    return precision != FLOAT32


def compare(
    precision: str,
    trained: Sequence[Logprobs],
    served: Sequence[Logprobs],
    *,
    scaled: Sequence[Logprobs] = (),
) -> Comparison:
    """Compare log-probabilities; `scaled` are training's with PROBED_SCALING, if measured."""
    ours, theirs = np.concatenate(trained), np.concatenate(served)
    differences = theirs - ours
    scaling, significance = None, None
    if scaled:
        scaling, significance = _fit_scaling(differences, np.concatenate(scaled) - ours)
    bound, limit = BOUNDS[precision]
    return Comparison(
        dtype=precision,
        asked=len(trained),
        tokens=len(differences),
        served=float(theirs.mean()),
        trained=float(ours.mean()),
        mean_difference=float(np.abs(differences).mean()),
        max_difference=float(np.abs(differences).max()),
        scaling_error=scaling,
        significance=significance,
        bound=bound,
        limit=limit,
    )


def _fit_scaling(differences: Logprobs, effects: Logprobs) -> tuple[float, float]:
    """Fit the error of the scaling that explains differences best, by least squares.

    Returns also how many times its standard error it is; 0 without an effect to fit.
    """
    power = float(effects @ effects)
    if power == 0 or len(effects) < 2:
        return 0.0, 0.0
    slope = float(differences @ effects) / power
    rest = differences - slope * effects
    variance = float(rest @ rest) / (len(rest) - 1)
    error = math.sqrt(variance / power)
    return PROBED_SCALING * slope, abs(slope) / error if error else math.inf
