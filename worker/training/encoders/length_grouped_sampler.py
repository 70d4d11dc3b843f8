"""Length-grouped sampling: batches of rows of similar length, which need little padding."""

from dataclasses import dataclass

from worker.training.encoders.micro_batches import RowT
from worker.training.sampler import EpochSampler, permutation

# Rows are sorted by length within shuffled mega-batches of this many batches, as in transformers'
# LengthGroupedSampler.
MEGA_BATCH_MULTIPLIER = 50


@dataclass(frozen=True, slots=True)
class LengthGroupedSampler(EpochSampler[RowT]):
    """An EpochSampler with length grouping, also a pure function of seed and step."""

    def batch(self, step: int) -> list[RowT]:
        """Return the rows of one step. The smaller batch may be at any position of an epoch."""
        epoch, position = divmod(step - 1, self.steps_per_epoch)
        order = permutation(self.seed, epoch, len(self.rows))
        batch_order = permutation(self.seed, -1 - epoch, self.steps_per_epoch)
        start = batch_order[position] * self.batch_size
        mega_batch_size = MEGA_BATCH_MULTIPLIER * self.batch_size
        mega_batch_start = start - start % mega_batch_size
        mega_batch = sorted(
            order[mega_batch_start : mega_batch_start + mega_batch_size],
            key=lambda index: self.rows[index].num_tokens,
        )
        return [
            self.rows[index] for index in mega_batch[start - mega_batch_start :][: self.batch_size]
        ]
