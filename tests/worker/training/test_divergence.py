"""Losses that diverge, and losses that only look like it."""

import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from worker.training.divergence import DivergenceDetector

TOTAL = 200
SEEDS = range(20)


def run(loss_at: Callable[[int], float], *, seed: int, noise: float = 0.3) -> int | None:
    """Return the step at which divergence is noticed."""
    chance, detector = random.Random(seed), DivergenceDetector(TOTAL)
    for step in range(1, TOTAL + 1):
        loss = loss_at(step)
        if detector.update(step, loss + chance.gauss(0, min(noise, loss / 2))):
            return step
    return None


LEARNS: dict[str, Callable[[int], float]] = {
    "falls": lambda step: 2 * math.exp(-step / 40),
    "falls in steps, an epoch each": lambda step: 2 / (1 + step // 50),
    "never falls": lambda step: 1.8,
    "is low from the start": lambda step: 0.05,
    "has an epoch of harder batches": lambda step: 1 - step / 300 + (0.15 if step > 150 else 0),
}
DIVERGES: dict[str, Callable[[int], float]] = {
    "climbs back to the entropy of the labels": lambda step: 0.4 if 40 < step < 90 else 1.75,
    "climbs far above the start": lambda step: 2.0 if step < 60 else 9.0,
    "leaves the start at once": lambda step: 2.0 if step < 4 else 8.0,
    "climbs slowly": lambda step: 2 - 1.5 * math.sin(step / TOTAL * math.pi),
}


@pytest.mark.parametrize("name", LEARNS)
def test_training_that_learns_or_has_nothing_to_learn_goes_on(name: str) -> None:
    assert [run(LEARNS[name], seed=seed) for seed in SEEDS] == [None] * len(SEEDS)


@pytest.mark.parametrize("name", DIVERGES)
def test_a_loss_that_loses_its_gain_is_noticed(name: str) -> None:
    assert None not in [run(DIVERGES[name], seed=seed) for seed in SEEDS]


def test_the_last_good_step_is_before_the_rise() -> None:
    detector = DivergenceDetector(100)
    steps = [detector.update(step, 1.0 if step <= 50 else 5.0) for step in range(1, 101)]
    assert any(steps)
    assert detector.last_good_step == 50


def test_a_resumed_run_notices_at_the_same_step(tmp_path: Path) -> None:
    losses = [2.0] * 20 + [0.5] * 30 + [1.9] * 50
    whole, first, resumed = (DivergenceDetector(100) for _ in range(3))
    noticed = [whole.update(step, loss) for step, loss in enumerate(losses, start=1)]
    for step in range(1, 61):
        first.update(step, losses[step - 1])
    for name, data in first.to_files().items():
        (tmp_path / name).write_bytes(data)
    resumed.load(tmp_path)
    again = [resumed.update(step, losses[step - 1]) for step in range(61, 101)]
    assert any(again)
    assert again == noticed[60:]


def test_a_loss_at_that_of_the_labels_shares_is_noticed_in_the_second_half() -> None:
    """It was below for a few steps, too few for a window."""
    losses = [1.7 if step > 20 else 1.2 for step in range(1, TOTAL + 1)]
    for chance_loss, expected in ((1.69, True), (1.72, False), (None, False)):
        detector = DivergenceDetector(TOTAL, chance_loss)
        noticed = [detector.update(step, loss) for step, loss in enumerate(losses[20:], start=21)]
        assert any(noticed[80:]) is expected
        assert not any(noticed[:60])


@pytest.mark.parametrize(("low", "last_good_step"), [(0.5, 90), (1.7, 0)])
def test_weights_at_chance_are_not_good(low: float, last_good_step: int) -> None:
    detector = DivergenceDetector(TOTAL, 1.72)
    for step in range(1, TOTAL + 1):
        detector.update(step, low if step <= 90 else 1.75)
    assert detector.last_good_step == last_good_step
