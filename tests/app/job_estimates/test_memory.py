"""Memory of a training process, by what it holds."""

from typing import Any

import pytest

from app.job_estimates.memory import estimate_memory
from tests.app.job_estimates.test_rates import FACTS


def estimate(tokens: int = 1000, **settings: Any) -> int:
    return estimate_memory(FACTS, tokens, settings)


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        (estimate(100), estimate(1000)),
        (estimate(quantization="nf4"), estimate(quantization="none")),
        (estimate(gradient_checkpointing=True), estimate(gradient_checkpointing=False)),
        (estimate(tuning="lora"), estimate(tuning="full")),
    ],
)
def test_what_is_held_counts(smaller: int, larger: int) -> None:
    assert smaller < larger


def test_weights_in_4_bits_save_what_their_format_does() -> None:
    """Of 16 bits of each of 100 million weights, 4.25 are left, with their scales."""
    saved = estimate(quantization="none") - estimate(quantization="nf4")
    assert saved == pytest.approx(10**8 * (16 - 4.25) / 8, rel=0.01)
