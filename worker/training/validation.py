"""Loss and accuracy on the validation file: a few rows now and then, all after each pass."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from worker.training.environment import Stop
from worker.training.objectives import Objective, means
from worker.training.sampler import Schedule

RowT = TypeVar("RowT")

# Samples are taken so often in a whole training: each costs a third of a training step.
SAMPLES = 20


@dataclass(frozen=True, slots=True)
class Validation(Generic[RowT]):
    """`sample` yields the rows of each sample, as many as a training batch has."""

    rows: Sequence[RowT]
    objective: Objective[RowT]
    sample: Schedule[RowT]
    every: int
    # More about all rows than their loss, where a method has a measure of its own.
    evaluate: Callable[[Sequence[RowT]], Mapping[str, float]] | None = None

    @classmethod
    def made(
        cls,
        rows: Sequence[RowT],
        objective: Objective[RowT],
        schedule: Schedule[RowT],
        evaluate: Callable[[Sequence[RowT]], Mapping[str, float]] | None = None,
    ) -> "Validation[RowT]":
        """To go with a training of that schedule."""
        size = min(schedule.batch_size, len(rows))
        sample = Schedule(rows, batch_size=size, n_epochs=1, seed=schedule.seed)
        every = max(1, schedule.total_steps // SAMPLES)
        return cls(rows, objective, sample, every, evaluate)

    def values(self, step: int, *, full: bool, stop: Stop) -> dict[str, float]:
        """`valid_…` if a sample is due, and `full_valid_…` if `full`.

        Whoever is asked to stop shall not first go through a large file: then `full` is left out.
        """
        values: dict[str, float] = {}
        if full or step % self.every == 0:
            rows = self.sample.batch(1 + (step // self.every) % self.sample.steps_per_pass)
            values |= self._mean("valid", rows, None)
        if full:
            values |= self._mean("full_valid", self.rows, stop)
        if full and self.evaluate is not None and not stop:
            values |= {f"valid_{name}": value for name, value in self.evaluate(self.rows).items()}
        return values

    @torch.no_grad()
    def _mean(self, name: str, rows: Sequence[RowT], stop: Stop | None) -> dict[str, float]:
        sums = []
        for part in self.objective.split(rows):
            if stop:
                return {}
            sums.append(self.objective.score(part).sums())
        return means(sums, self.objective.count(rows), name)
