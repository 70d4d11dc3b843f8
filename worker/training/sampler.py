"""Which rows each step trains on: a pure function of seed and step, so nothing has to be saved."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

RowT = TypeVar("RowT")


@dataclass(frozen=True, slots=True)
class EpochSampler(Generic[RowT]):
    """`n_epochs` passes over `rows`, each in an order of its own. Steps count from 1."""

    rows: Sequence[RowT]
    batch_size: int
    n_epochs: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.n_epochs

    def is_epoch_end(self, step: int) -> bool:
        return step % self.steps_per_epoch == 0

    def batch(self, step: int) -> list[RowT]:
        """The rows of one step; the last of a pass may have fewer than `batch_size`."""
        done, place = divmod(step - 1, self.steps_per_epoch)
        order = permutation(self.seed, done, len(self.rows))
        start = place * self.batch_size
        return [self.rows[index] for index in order[start : start + self.batch_size]]


def permutation(seed: int, epoch: int, length: int) -> list[int]:
    """The order of pass `number`. A generator of its own: no other draw can shift it."""
    order = list(range(length))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return order
