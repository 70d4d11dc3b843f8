"""Micro-batches after attempts that ran out of memory."""

import numpy as np
import pytest

from worker.training.batching import Row, split_by_tokens
from worker.training.micro_batch_limits import MicroBatchLimits, reduce_limits


def row(num_tokens: int) -> Row:
    ids = np.zeros(num_tokens + 1, dtype=np.int32)
    return Row(ids, np.array([num_tokens], dtype=np.int32))


def most_tokens(rows: list[Row], limits: MicroBatchLimits) -> int:
    groups = split_by_tokens(rows, max_tokens=limits.max_tokens, max_rows=limits.max_rows)
    return max(sum(row.num_tokens for row in group) for group in groups)


@pytest.mark.parametrize("length", [16, 1000, 4000])
def test_halving_reduces_the_tokens_of_micro_batches_until_a_row_is_alone(length: int) -> None:
    rows = [row(length) for _ in range(8)]
    tokens = [most_tokens(rows, reduce_limits(8192, size, 8)) for size in (4, 2, 1)]
    assert tokens == sorted(tokens, reverse=True)
    assert tokens[0] <= max(length, 4096)
    assert tokens[1] <= max(length, 2048)
    assert tokens[2] == length


def test_without_a_reduction_only_the_tokens_are_limited() -> None:
    assert reduce_limits(8192, None, 8) == MicroBatchLimits(8192)
    assert reduce_limits(8192, 8, 8).max_tokens == 8192
