"""Batches of rows of similar length, so that little is filled up; still in an order by seed."""

from dataclasses import dataclass

from worker.training.encoders.rows import RowT
from worker.training.sampler import EpochSampler, permutation

# Rows are sorted by length within shuffled windows of so many batches.
MEGA_BATCH_MULTIPLIER = 50


@dataclass(frozen=True, slots=True)
class LengthGroupedSampler(EpochSampler[RowT]):
    """Like Schedule, and just as much a pure function of seed and step."""

    def batch(self, step: int) -> list[RowT]:
        """The rows of one step. The batch with fewer rows may come anywhere in a pass."""
        done, place = divmod(step - 1, self.steps_per_epoch)
        order = permutation(self.seed, done, len(self.rows))
        starts = [start * self.batch_size for start in range(self.steps_per_epoch)]
        turns = permutation(self.seed, -1 - done, self.steps_per_epoch)
        start = starts[turns[place]]
        window = start - start % (MEGA_BATCH_MULTIPLIER * self.batch_size)
        near = order[window : window + MEGA_BATCH_MULTIPLIER * self.batch_size]
        near.sort(key=lambda index: self.rows[index].num_tokens)
        return [self.rows[index] for index in near[start - window :][: self.batch_size]]
