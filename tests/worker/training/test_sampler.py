"""Which rows each step trains on."""

from worker.training.sampler import EpochSampler


def schedule(seed: int = 3) -> EpochSampler[int]:
    return EpochSampler(rows=range(10), batch_size=4, n_epochs=3, seed=seed)


def one_pass(number: int, seed: int = 3) -> list[int]:
    return [row for step in range(1, 4) for row in schedule(seed).batch(number * 3 + step)]


def test_each_pass_sees_every_row_once_in_its_own_order() -> None:
    passes = [one_pass(number) for number in range(3)]
    assert all(sorted(seen) == list(range(10)) for seen in passes)
    assert passes[0] != passes[1] != passes[2]


def test_the_order_is_a_function_of_the_seed() -> None:
    assert one_pass(1) == one_pass(1)
    assert one_pass(1) != one_pass(1, seed=4)


def test_the_last_batch_of_a_pass_has_what_is_left() -> None:
    assert [len(schedule().batch(step)) for step in range(1, 7)] == [4, 4, 2, 4, 4, 2]
    assert schedule().total_steps == 9
    assert [step for step in range(1, 10) if schedule().is_epoch_end(step)] == [3, 6, 9]
