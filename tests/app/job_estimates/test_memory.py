"""Memory of a training process, by what it holds."""

from typing import Any

import pytest

from app.job_estimates.memory import estimate_comparison_memory, estimate_memory
from app.wire.training_rows import ModelFacts
from tests.app.job_estimates.test_rates import FACTS

# SmolLM2-135M in bfloat16.
SMOLLM2 = ModelFacts(
    model_type="llama",
    hidden_size=576,
    num_layers=30,
    num_parameters=134_515_008,
    layer_parameters=106_168_320,
    bytes_per_parameter=2,
    gigaflops=100.0,
)

# Peaks in MiB of jobs on SmolLM2-135M, on 2026-11-30: tokens of the largest micro-batch, training,
# and the comparison after it.
MEASURED = [(382, 1013, 1333), (417, 897, 1263), (1024, 1306, 1365)]


def estimate(tokens: int = 1000, *, rank: int = 16, **settings: Any) -> int:
    return estimate_memory(FACTS, tokens, settings, rank=rank)


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        (estimate(100), estimate(1000)),
        (estimate(quantization="nf4"), estimate(quantization="none")),
        (estimate(gradient_checkpointing=True), estimate(gradient_checkpointing=False)),
        (estimate(tuning="lora"), estimate(tuning="full")),
        (estimate(rank=16), estimate(rank=64)),
    ],
)
def test_what_is_held_counts(smaller: int, larger: int) -> None:
    assert smaller < larger


def test_weights_in_4_bits_save_what_their_format_does() -> None:
    """Of 16 bits of each of 100 million weights, 4.25 are left, with their scales."""
    saved = estimate(quantization="none") - estimate(quantization="nf4")
    assert saved == pytest.approx(10**8 * (16 - 4.25) / 8, rel=0.01)


@pytest.mark.parametrize(("tokens", "measured", "measured_comparison"), MEASURED)
def test_estimates_for_weights_in_4_bits_are_near_to_what_was_measured(
    tokens: int, measured: int, measured_comparison: int
) -> None:
    peak = estimate_memory(SMOLLM2, tokens, {"quantization": "nf4"}, rank=16)
    assert peak == pytest.approx(measured * 2**20, rel=0.15)
    comparison = estimate_comparison_memory(SMOLLM2, peak)
    assert comparison == pytest.approx(measured_comparison * 2**20, rel=0.15)
