"""Plans of sweeps: grids, random draws, rungs of successive halving, the choice of the best."""

from typing import Any

import pytest

from app.db.tables import SweepStrategy, SweepTrial, TrialState
from app.errors import InvalidRequest
from app.jobs.schemas import CreateJob
from app.sweeps import choice, halving, metrics
from app.sweeps.halving import Rung
from app.sweeps.planning import plan_combinations
from app.sweeps.schemas import ValueSpace
from app.sweeps.space import Combination, check_space, draw_combinations

RATE = "learning_rate_multiplier"


def make_job(**hyperparameters: Any) -> CreateJob:
    method = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
    files = {"training_file": "file-a", "validation_file": "file-b"}
    return CreateJob.model_validate({"model": "base", "method": method, **files})


def plan(
    strategy: SweepStrategy, max_jobs: int, *, seed: int = 1, epochs: Any = "auto", **space: Any
) -> list[Combination]:
    job = make_job(n_epochs=epochs)
    values = {name: ValueSpace.model_validate(each) for name, each in space.items()}
    return plan_combinations(strategy, job, check_space(job, values), max_jobs, seed)


def make_trials(
    *values: float | None, state: TrialState = TrialState.SUCCEEDED
) -> list[SweepTrial]:
    return [
        SweepTrial(sweep_id="s", index=index, rung=0, state=state, value=value)
        for index, value in enumerate(values)
    ]


class TestGrid:
    def test_all_combinations_in_order(self) -> None:
        axes = {"lora_rank": {"values": [4, 8.0]}, "lr_schedule": {"values": ["linear", "auto"]}}
        assert plan(SweepStrategy.GRID, 4, **axes) == [
            {"lora_rank": 4, "lr_schedule": "linear"},
            {"lora_rank": 4, "lr_schedule": "auto"},
            {"lora_rank": 8, "lr_schedule": "linear"},
            {"lora_rank": 8, "lr_schedule": "auto"},
        ]

    def test_more_combinations_than_jobs_are_refused_with_the_numbers(self) -> None:
        axes = {"lora_rank": {"values": [4, 8]}, "n_epochs": {"values": [1, 2, 3]}}
        with pytest.raises(InvalidRequest, match=r"2 x 3 = 6 combinations.*'max_jobs', 5\."):
            plan(SweepStrategy.GRID, 5, **axes)


class TestRandom:
    def test_draws_are_within_bounds_and_a_function_of_the_seed(self) -> None:
        axes = {
            "lora_rank": {"min": 1, "max": 256, "scale": "log"},
            RATE: {"min": 0.01, "max": 10, "scale": "log"},
            "lora_dropout": {"min": 0, "max": 0.5},
        }
        drawn = plan(SweepStrategy.RANDOM, 64, seed=5, **axes)
        assert drawn == plan(SweepStrategy.RANDOM, 64, seed=5, **axes)
        assert drawn != plan(SweepStrategy.RANDOM, 64, seed=6, **axes)
        assert len(drawn) == 64
        assert all(type(each["lora_rank"]) is int for each in drawn)
        assert all(1 <= each["lora_rank"] <= 256 and 0.01 <= each[RATE] <= 10 for each in drawn)
        # Half of a logarithmic range is below its geometric mean, here a thirtieth of its width.
        below = sum(each[RATE] < 0.01 * (1000**0.5) for each in drawn)
        assert 20 < below < 44

    def test_the_first_draw_stays_what_it_was(self) -> None:
        """Stored seeds must give the same trials in every version of Python."""
        (first,) = plan(SweepStrategy.RANDOM, 1, seed=7, **{RATE: {"min": 0.1, "max": 10}})
        assert first == {RATE: 3.30594}

    def test_a_small_space_is_tried_whole(self) -> None:
        axes = {"lora_rank": {"min": 4, "max": 6}, "packing": {"values": [True, False]}}
        drawn = plan(SweepStrategy.RANDOM, 20, **axes)
        assert len(drawn) == 6
        assert {each["lora_rank"] for each in drawn} == {4, 5, 6}

    def test_a_range_of_whole_numbers_is_drawn_evenly(self) -> None:
        job = make_job()
        axes = check_space(job, {"lora_rank": ValueSpace(min=1, max=3)})
        counts = [draw_combinations(axes, 1, seed)[0]["lora_rank"] for seed in range(300)]
        assert all(70 < counts.count(rank) < 130 for rank in (1, 2, 3))


class TestHalving:
    @pytest.mark.parametrize(
        ("max_jobs", "n_epochs", "rungs"),
        [
            (13, 9, [(9, 1), (3, 3), (1, 9)]),
            (64, 9, [(44, 1), (14, 3), (4, 9)]),
            (12, 9, [(9, 3), (3, 9)]),
            (4, 3, [(3, 1), (1, 3)]),
            (8, 50, [(6, 16), (2, 50)]),
            (3, 9, [(3, 9)]),
            (20, 2, [(20, 2)]),
        ],
    )
    def test_rungs(self, max_jobs: int, n_epochs: int, rungs: list[tuple[int, int]]) -> None:
        planned = halving.plan_rungs(max_jobs=max_jobs, n_epochs=n_epochs, combinations=64)
        assert planned == [Rung(*each) for each in rungs]

    @pytest.mark.parametrize("combinations", range(1, 65))
    @pytest.mark.parametrize("n_epochs", [3, 10, 50])
    def test_no_plan_exceeds_the_jobs_and_each_is_planned_again_alike(
        self, combinations: int, n_epochs: int
    ) -> None:
        for max_jobs in (4, 13, 40, 64):
            rungs = halving.plan_rungs(
                max_jobs=max_jobs, n_epochs=n_epochs, combinations=combinations
            )
            assert sum(rung.trials for rung in rungs) <= max_jobs
            assert rungs[0].trials <= combinations
            assert rungs[-1].n_epochs == n_epochs
            assert rungs[-1].trials >= 1
            assert rungs == halving.plan_rungs(
                max_jobs=max_jobs, n_epochs=n_epochs, combinations=rungs[0].trials
            )

    def test_the_first_rung_is_drawn_and_trained_shortly(self) -> None:
        axes = {"lora_rank": {"min": 1, "max": 256}}
        planned = plan(SweepStrategy.HALVING, 13, epochs=9, **axes)
        assert [each["n_epochs"] for each in planned] == [1] * 9
        assert len({each["lora_rank"] for each in planned}) == 9

    @pytest.mark.parametrize(
        ("n_epochs", "space", "max_jobs", "param"),
        [
            ("auto", {}, 13, "job.method.supervised.hyperparameters.n_epochs"),
            (2, {}, 13, "job.method.supervised.hyperparameters.n_epochs"),
            (9, {}, 3, "max_jobs"),
            (9, {"lora_rank": {"values": [4, 8]}}, 13, "space"),
            ("auto", {"n_epochs": {"values": [1, 2]}}, 13, "space.n_epochs"),
        ],
    )
    def test_what_cannot_be_halved(
        self, n_epochs: Any, space: dict[str, Any], max_jobs: int, param: str
    ) -> None:
        axes = space or {"lora_rank": {"min": 1, "max": 256}}
        with pytest.raises(InvalidRequest) as refused:
            plan(SweepStrategy.HALVING, max_jobs, epochs=n_epochs, **axes)
        assert refused.value.error_param == param


class TestChoice:
    def test_the_lowest_loss_and_the_highest_of_other_metrics(self) -> None:
        trials = make_trials(2.0, 1.5, 3.25)
        assert choice.explain(trials, "valid_loss") == "valid_loss 1.5, lowest of 3 finished trials"
        assert choice.rank(trials, "accuracy")[0].index == 2
        expected = "accuracy 3.25, highest of 3 finished trials"
        assert choice.explain(trials, "accuracy") == expected

    def test_trials_without_a_value_are_counted(self) -> None:
        trials = make_trials(2.0, None, None, None)
        trials[1].state, trials[3].state = TrialState.FAILED, TrialState.RUNNING
        assert choice.explain(trials, "valid_loss") == (
            "valid_loss 2, the only finished trial; 1 failed, 1 unfinished, 1 without the metric"
        )

    def test_of_equal_trials_the_first(self) -> None:
        trials = make_trials(2.0, 1.0, 1.0)
        assert choice.rank(trials, "valid_loss")[0].index == 1
        assert "as good as trial 2, and tried first" in (choice.explain(trials, "valid_loss") or "")

    def test_none(self) -> None:
        trials = make_trials(None, None, state=TrialState.FAILED)
        assert choice.explain(trials, "valid_loss") is None
        assert choice.describe_others(trials) == "2 failed"


class TestMetrics:
    def test_the_loss_is_that_of_the_whole_file(self) -> None:
        values = {"valid_loss": 1.0, "full_valid_loss": 2.0, "valid_accuracy": 0.5}
        assert metrics.read_value("valid_loss", values) == 2.0
        assert metrics.read_value("accuracy", values) == 0.5
        assert metrics.read_value("valid_f1", values) is None

    @pytest.mark.parametrize(
        ("metric", "words"),
        [
            ("test_loss", "never used to choose"),
            ("test_file", "never used to choose"),
            ("train_loss", "has memorized it"),
            ("valid_los", "Did you mean 'valid_loss'?"),
            ("valid_accuracy", "has valid_loss, valid_mean_token_accuracy."),
            ("", "is not a metric"),
        ],
    )
    def test_what_cannot_choose(self, metric: str, words: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            metrics.check_metric(metric, make_job())
        assert words in refused.value.message
        assert refused.value.error_param == "metric"
