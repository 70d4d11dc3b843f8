"""Batches of rows of similar length, so that little is filled up; still in an order by seed."""

from dataclasses import dataclass

from worker.training.encoders.rows import RowT
from worker.training.sampler import Schedule, permutation

# Rows are sorted by length within shuffled windows of so many batches.
WINDOW = 50


@dataclass(frozen=True, slots=True)
class Bucketed(Schedule[RowT]):
    """Like Schedule, and just as much a pure function of seed and step."""

    def batch(self, step: int) -> list[RowT]:
        """The rows of one step. The batch with fewer rows may come anywhere in a pass."""
        done, place = divmod(step - 1, self.steps_per_pass)
        order = permutation(self.seed, done, len(self.rows))
        starts = [start * self.batch_size for start in range(self.steps_per_pass)]
        turns = permutation(self.seed, -1 - done, self.steps_per_pass)
        start = starts[turns[place]]
        window = start - start % (WINDOW * self.batch_size)
        near = order[window : window + WINDOW * self.batch_size]
        near.sort(key=lambda index: self.rows[index].size)
        return [self.rows[index] for index in near[start - window :][: self.batch_size]]
