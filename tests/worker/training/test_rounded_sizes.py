"""Rounded sizes: little padding, and few different sizes."""

import pytest

from worker.training.rounded_sizes import MAX_PADDING, round_up


@pytest.mark.parametrize("step", [8, 16])
def test_padding_is_small(step: int) -> None:
    for size in range(1, 5000):
        padding = round_up(size, step=step) - size
        assert 0 <= padding < step or padding <= size * MAX_PADDING


def test_similar_sizes_become_equal() -> None:
    assert len({round_up(size, step=16) for size in range(1025, 2049)}) == 32
    assert {round_up(size, step=16) for size in range(33, 49)} == {48}
