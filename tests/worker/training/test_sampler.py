"""The rows of each step."""

from dataclasses import dataclass

from worker.training.encoders.length_grouped_sampler import LengthGroupedSampler
from worker.training.sampler import EpochSampler, permutation


@dataclass(frozen=True)
class Text:
    num_tokens: int


def sampler(seed: int = 3) -> EpochSampler[int]:
    return EpochSampler(rows=range(10), batch_size=4, n_epochs=3, seed=seed)


def one_epoch(number: int, seed: int = 3) -> list[int]:
    return [row for step in range(1, 4) for row in sampler(seed).batch(number * 3 + step)]


def test_each_epoch_has_every_row_once_in_its_own_order() -> None:
    epochs = [one_epoch(number) for number in range(3)]
    assert all(sorted(seen) == list(range(10)) for seen in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_the_order_depends_only_on_seed_and_epoch() -> None:
    assert one_epoch(1) == one_epoch(1)
    assert one_epoch(1) != one_epoch(1, seed=4)


def test_the_last_batch_of_an_epoch_has_the_remaining_rows() -> None:
    assert [len(sampler().batch(step)) for step in range(1, 7)] == [4, 4, 2, 4, 4, 2]
    assert sampler().total_steps == 9
    assert [step for step in range(1, 10) if sampler().is_epoch_end(step)] == [3, 6, 9]


def test_an_epoch_is_shuffled_once() -> None:
    permutation.cache_clear()
    grouped = LengthGroupedSampler([Text(length) for length in range(10)], 2, 2, seed=1)
    batches = [grouped.batch(step) for step in range(1, 11)]
    assert permutation.cache_info().misses == 4  # of rows and of batches, in each epoch
    for epoch in (batches[:5], batches[5:]):
        assert sorted(text.num_tokens for batch in epoch for text in batch) == list(range(10))
