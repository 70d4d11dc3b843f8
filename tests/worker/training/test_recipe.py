"""Resolution of "auto" hyperparameters."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from app.recipes.chat import (
    Recipe,
    auto_batch_size,
    auto_epochs,
    choose_dpo_recipe,
    choose_lora_settings,
)
from app.recipes.chat import choose_recipe as choose_family_recipe
from app.recipes.encoders import choose_encoder_recipe, scale_micro_batch_tokens
from app.recipes.learning_rates import lora_learning_rate
from worker.encoding.task import Method


def choose_recipe(hyperparameters: dict[str, Any], *, examples: int, hidden_size: int) -> Recipe:
    return choose_family_recipe(
        hyperparameters, examples=examples, hidden_size=hidden_size, model_type="llama"
    )


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


@pytest.mark.parametrize(
    ("model_type", "hidden_size", "rate"),
    [
        # What tinker_cookbook.hyperparam_utils.get_lr returns for models of these families.
        ("llama", 2048, 4.908e-4), ("llama", 4096, 2.856e-4),
        ("qwen3", 4096, 4.730e-4), ("qwen3", 2560, 4.905e-4), ("qwen2", 896, 5.321e-4),
        ("qwen3_5_text", 2560, 4.905e-4),
        # Not published: the lower of both formulas.
        ("llama", 576, 1.32e-3), ("gemma3_text", 4096, 2.856e-4), ("gemma3_text", 640, 5.46e-4),
    ],
)  # fmt: skip
def test_the_learning_rate_is_that_of_the_family(
    model_type: str, hidden_size: int, rate: float
) -> None:
    assert lora_learning_rate(model_type, hidden_size) == pytest.approx(rate, rel=2e-3)


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

    def test_linear_falls_to_zero(self) -> None:
        recipe = choose_recipe({"lr_schedule": "linear"}, examples=1000, hidden_size=576)
        rates = [recipe.learning_rate(step, 100) for step in range(5, 101)]
        steps = [before - after for before, after in pairwise(rates)]
        assert steps == pytest.approx([steps[0]] * 95)
        assert rates[-1] == 0

    def test_constant_stays_at_the_peak(self) -> None:
        recipe = choose_recipe({"lr_schedule": "constant"}, examples=1000, hidden_size=576)
        assert {recipe.learning_rate(step, 100) for step in range(5, 101)} == {
            recipe.peak_learning_rate
        }

    def test_the_warmup_has_its_share_of_the_steps(self) -> None:
        recipe = choose_recipe({"warmup_ratio": 0.5}, examples=1000, hidden_size=576)
        assert recipe.learning_rate(25, 100) == pytest.approx(recipe.peak_learning_rate / 2)
        assert recipe.learning_rate(50, 100) == recipe.peak_learning_rate
        none = choose_recipe({"warmup_ratio": 0.0}, examples=1000, hidden_size=576)
        assert none.learning_rate(1, 100) == none.peak_learning_rate


def test_alpha_does_not_depend_on_the_rank() -> None:
    assert choose_lora_settings({"lora_rank": 64}).alpha == choose_lora_settings({}).alpha == 32
    assert choose_lora_settings({"lora_rank": 64, "lora_alpha": 16.0}).alpha == 16


def test_the_report_has_every_value_that_training_uses() -> None:
    explicit = {
        "weight_decay": 0.1, "warmup_ratio": 0.2, "lr_schedule": "constant", "max_grad_norm": 2.0,
        "label_smoothing": 0.1, "neftune_alpha": 5.0, "packing": True,
        "gradient_checkpointing": True, "quantization": "nf4",
        "learning_rate_multiplier": 2.0, "n_epochs": 4, "batch_size": 6,
    }  # fmt: skip
    recipe = choose_recipe(explicit, examples=1000, hidden_size=576)
    assert recipe.report() == {
        **explicit,
        "learning_rate": recipe.peak_learning_rate,
        "base_learning_rate": recipe.base_learning_rate,
    }
    assert recipe.peak_learning_rate == 2 * recipe.base_learning_rate


class TestResumption:
    """An attempt that resumes gets the first one's report as hyperparameters.

    Another file and another model stand for rules that have changed.
    """

    @pytest.mark.parametrize("choose", [choose_family_recipe, choose_dpo_recipe])
    def test_it_keeps_the_recipe(self, choose: Callable[..., Recipe]) -> None:
        first = choose({}, examples=1000, hidden_size=576, model_type="llama")
        report = first.report()
        assert choose(report, examples=900, hidden_size=4096, model_type="qwen3") == first
        report["learning_rate_multiplier"] = 0.1
        slower = choose(report, examples=900, hidden_size=4096, model_type="qwen3")
        assert slower.peak_learning_rate == pytest.approx(first.peak_learning_rate / 10)

    @pytest.mark.parametrize("method", ["classification", "token_classification", "embedding"])
    def test_it_keeps_an_encoders_recipe(self, method: Method) -> None:
        explicit = {"class_weights": "balanced", "early_stopping_patience": 3, "max_length": 64}
        first = choose_encoder_recipe(
            method, explicit, examples=500, hidden_size=384, model_type="bert"
        )
        resumed = choose_encoder_recipe(
            method, first.report(), examples=450, hidden_size=1024, model_type="bert"
        )
        assert resumed == first


@pytest.mark.parametrize(
    ("num_layers", "hidden_size", "tokens"),
    [(6, 384, 4096), (2, 128, 4096), (12, 768, 1024), (24, 1024, 512)],
)
def test_larger_encoders_have_smaller_micro_batches(
    num_layers: int, hidden_size: int, tokens: int
) -> None:
    shape = {"num_layers": num_layers, "hidden_size": hidden_size}
    assert scale_micro_batch_tokens(4096, **shape) == tokens
