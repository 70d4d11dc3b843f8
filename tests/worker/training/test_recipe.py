"""Resolution of "auto" hyperparameters."""

import pytest

from worker.training.recipe import auto_batch_size, auto_epochs, choose_recipe, lora_learning_rate


@pytest.mark.parametrize(
    ("examples", "epochs"),
    [
        (1, 25), (3, 25), (4, 25), (5, 20), (10, 10), (33, 3), (34, 3), (100, 3), (8333, 3),
        (8334, 2), (12_500, 2), (12_501, 1), (100_000, 1),
    ],
)  # fmt: skip
def test_auto_epochs_follow_the_cookbooks_rule(examples: int, epochs: int) -> None:
    assert auto_epochs(examples) == epochs


@pytest.mark.parametrize(
    ("examples", "epochs", "batch"),
    [(10, 10, 2), (54, 3, 4), (100, 3, 7), (500, 3, 8), (5000, 3, 10), (200_000, 1, 256)],
)
def test_batches_are_small_for_small_files(examples: int, epochs: int, batch: int) -> None:
    assert auto_batch_size(examples, epochs) == batch


def test_wider_models_take_smaller_steps() -> None:
    assert lora_learning_rate(576) == pytest.approx(1.32e-3, rel=0.01)
    assert lora_learning_rate(4096) == pytest.approx(2.86e-4, rel=0.01)


def test_explicit_values_are_kept() -> None:
    explicit = {"n_epochs": 7, "batch_size": 5, "learning_rate_multiplier": 0.5}
    recipe = choose_recipe(explicit, examples=1000, hidden_size=576)
    assert (recipe.n_epochs, recipe.batch_size, recipe.learning_rate_multiplier) == (7, 5, 0.5)


@pytest.mark.parametrize("hyperparameters", [{}, {"n_epochs": "auto", "batch_size": "auto"}])
def test_a_missing_value_means_auto(hyperparameters: dict[str, str]) -> None:
    assert choose_recipe(hyperparameters, examples=500, hidden_size=576) == choose_recipe(
        {}, examples=500, hidden_size=576
    )


def test_the_batch_size_is_at_most_the_file() -> None:
    assert choose_recipe({"batch_size": 256}, examples=10, hidden_size=576).batch_size == 10


class TestLearningRate:
    def test_it_warms_up_and_decays_to_a_tenth(self) -> None:
        recipe = choose_recipe({}, examples=1000, hidden_size=576)
        rates = [recipe.learning_rate(step, 100) for step in range(1, 101)]
        peak = rates.index(max(rates))
        assert rates[: peak + 1] == sorted(rates[: peak + 1])
        assert rates[peak:] == sorted(rates[peak:], reverse=True)
        assert rates[-1] == pytest.approx(max(rates) / 10)
        assert rates[0] > 0

    def test_the_multiplier_scales_it(self) -> None:
        single, double = (
            choose_recipe({"learning_rate_multiplier": m}, examples=50, hidden_size=576)
            for m in (1, 2)
        )
        assert double.learning_rate(3, 10) == pytest.approx(2 * single.learning_rate(3, 10))

    def test_a_run_of_one_step_has_a_positive_rate(self) -> None:
        assert choose_recipe({}, examples=1, hidden_size=576).learning_rate(1, 1) > 0
