"""The start is compared on the rows by which the best epoch is chosen, at a bounded cost."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from worker.training.start_comparison import MIN_TOKENS, STATE_FILE, StartComparison

TOKENS_PER_ROW = 64
ROWS = list(range(640))


@dataclass
class FakeObjective:
    """An objective whose rows are numbers, each with its own loss."""

    losses: dict[int, float]
    measured: list[int] = field(default_factory=list)

    def split(self, rows: Sequence[int]) -> Iterator[Sequence[int]]:
        for start in range(0, len(rows), 10):
            yield rows[start : start + 10]

    def num_items(self, rows: Sequence[int]) -> int:
        return len(rows)

    def num_tokens(self, rows: Sequence[int]) -> int:
        return TOKENS_PER_ROW * len(rows)

    def compute_loss(self, rows: Sequence[int]) -> Any:
        self.measured += rows
        return SimpleNamespace(loss=torch.tensor([self.losses[row] for row in rows]).sum())


def compare(
    objective: Any, *, trained_tokens: int, role: str = "validation"
) -> StartComparison[int]:
    return StartComparison(
        ROWS,
        objective,
        role=role,
        trained_tokens=trained_tokens,
        report_progress=lambda done: None,
    )


def measure_start(comparison: StartComparison[int]) -> None:
    """Take a first step between the start and its measurement."""
    parameters = [nn.Parameter(torch.tensor([1.0]))]
    comparison.begin(None, parameters)
    parameters[0].data.fill_(2.0)
    comparison.measure_start(parameters)
    assert parameters[0].item() == 2.0


LARGE_JOB = 10**6
SMALL_JOB = 1000


def test_the_whole_file_decides_as_it_does_between_epochs() -> None:
    """Every tenth row gets worse, all others better."""
    objective = FakeObjective(dict.fromkeys(ROWS, 2.0))
    comparison = compare(objective, trained_tokens=LARGE_JOB)
    measure_start(comparison)
    assert sorted(objective.measured) == ROWS
    objective.losses = {row: 1.0 if row % 10 else 5.0 for row in ROWS}
    objective.measured.clear()
    assert comparison.warn({"full_valid_loss": 1.4}) is None
    assert objective.measured == [], "the epoch's evaluation has measured the same rows"
    warning = comparison.warn({"full_valid_loss": 2.1})
    assert warning is not None
    assert "640 rows of the validation file its loss is 2.10, and was 2.00" in warning


def test_of_a_file_that_is_large_for_its_job_evenly_spaced_rows_are_compared() -> None:
    objective = FakeObjective(dict.fromkeys(ROWS, 2.0))
    comparison = compare(objective, trained_tokens=SMALL_JOB)
    measure_start(comparison)
    first = list(objective.measured)
    assert objective.num_tokens(first) == MIN_TOKENS["validation"]
    assert first == ROWS[::10]
    objective.losses = {row: 1.0 if row % 10 else 5.0 for row in ROWS}
    objective.measured.clear()
    # Both losses are of the same rows, whatever the whole file's loss is.
    warning = comparison.warn({"full_valid_loss": 1.4})
    assert objective.measured == first
    assert warning is not None
    assert "64 rows of the validation file its loss is 5.00" in warning


def test_rows_of_the_training_file_are_measured_again() -> None:
    objective = FakeObjective(dict.fromkeys(ROWS, 2.0))
    comparison = compare(objective, trained_tokens=LARGE_JOB, role="training")
    measure_start(comparison)
    objective.losses = dict.fromkeys(ROWS, 3.0)
    warning = comparison.warn({"train_loss": 1.6})
    assert warning is not None
    assert "640 rows of the training file its loss is 3.00" in warning
    objective.measured.clear()
    assert comparison.warn({"train_loss": 1.4}) is None
    assert objective.measured == [], "the last batch shows that it has learned"


def test_few_rows_of_a_small_training_file_are_measured() -> None:
    """At its end, the job's success waits for them."""
    objective = FakeObjective(dict.fromkeys(ROWS, 2.0))
    comparison = compare(objective, trained_tokens=SMALL_JOB, role="training")
    measure_start(comparison)
    assert objective.num_tokens(objective.measured) == MIN_TOKENS["training"]


def test_a_start_that_was_measured_on_other_rows_is_not_compared(tmp_path: Path) -> None:
    objective = FakeObjective(dict.fromkeys(ROWS, 2.0))
    (tmp_path / STATE_FILE).write_text('{"loss": 0.5}')
    earlier_version = compare(objective, trained_tokens=LARGE_JOB)
    earlier_version.begin(tmp_path, [])
    assert earlier_version.warn({"full_valid_loss": 9.0}) is None
    fresh = compare(objective, trained_tokens=LARGE_JOB)
    measure_start(fresh)
    (tmp_path / STATE_FILE).write_bytes(fresh.to_files()[STATE_FILE])
    resumed = compare(objective, trained_tokens=LARGE_JOB)
    resumed.begin(tmp_path, [])
    assert resumed.warn({"full_valid_loss": 9.0}) is not None


def test_the_start_is_measured_with_the_weights_of_the_start() -> None:
    """After the first step, which a user waits for."""
    parameter = nn.Parameter(torch.tensor([3.0]))

    class LossOfWeights(FakeObjective):
        def compute_loss(self, rows: Sequence[int]) -> Any:
            return SimpleNamespace(loss=parameter.detach() * len(rows))

    comparison = compare(LossOfWeights({}), trained_tokens=LARGE_JOB)
    comparison.begin(None, [parameter])
    parameter.data.fill_(4.0)
    comparison.measure_start([parameter])
    assert parameter.item() == 4.0
    warning = comparison.warn({"full_valid_loss": 4.0})
    assert warning is not None
    assert "its loss is 4.00, and was 3.00 before training" in warning
