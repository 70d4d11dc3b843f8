"""Validation loss and accuracy: on a sample of rows during an epoch, on all rows after it."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from worker.training.environment import StopSignal
from worker.training.objectives import Objective, mean_metrics
from worker.training.ranks import ALONE, Ranks
from worker.training.sampler import EpochSampler

RowT = TypeVar("RowT")
# Micro-batches with the outputs that their loss was computed from.
Parts = Sequence[tuple[Sequence[RowT], Tensor | None]]
TaskMetrics = Callable[[Parts[RowT]], Mapping[str, float]]

# Sampled evaluations per run. Each costs a third of a training step.
SAMPLED_EVALUATIONS = 20


@dataclass(frozen=True, slots=True)
class Validation(Generic[RowT]):
    """Evaluates an objective on the validation rows.

    `sampler` yields the rows of each sample, which has the size of a training batch.
    """

    rows: Sequence[RowT]
    objective: Objective[RowT]
    sampler: EpochSampler[RowT]
    sample_interval_steps: int
    # Computes further metrics on all rows, for methods that define their own, and the rows whose
    # outputs it takes, at most.
    task_metrics: TaskMetrics[RowT] | None = None
    max_measured_rows: int = sys.maxsize
    # Each evaluates its share of the rows.
    ranks: Ranks = ALONE

    @classmethod
    def for_training(
        cls,
        rows: Sequence[RowT],
        objective: Objective[RowT],
        training_sampler: EpochSampler[RowT],
        task_metrics: TaskMetrics[RowT] | None = None,
        max_measured_rows: int = sys.maxsize,
        ranks: Ranks = ALONE,
    ) -> "Validation[RowT]":
        """Make the validation of a run whose batches `training_sampler` yields."""
        size = min(training_sampler.batch_size, len(rows))
        sampler = EpochSampler(rows, batch_size=size, n_epochs=1, seed=training_sampler.seed)
        interval = max(1, training_sampler.total_steps // SAMPLED_EVALUATIONS)
        return cls(rows, objective, sampler, interval, task_metrics, max_measured_rows, ranks)

    def compute_metrics(
        self, step: int, *, full: bool, stop: StopSignal | None
    ) -> dict[str, float]:
        """Compute `valid_…` if a sample is due, and `full_valid_…` if `full`.

        A stop request skips the full evaluation, which may take a long time on a large file;
        without a `stop` it is always completed.
        """
        values: dict[str, float] = {}
        if full or step % self.sample_interval_steps == 0:
            rows = self.sampler.batch(
                1 + (step // self.sample_interval_steps) % self.sampler.steps_per_epoch
            )
            values |= self._mean_loss("valid", rows, None, collects=False)[0]
        if full:
            collects = self.task_metrics is not None
            losses, parts = self._mean_loss("full_valid", self.rows, stop, collects=collects)
            values |= losses
            if self.task_metrics is not None and not stop:
                metrics = self.task_metrics(parts)
                values |= {f"valid_{name}": value for name, value in metrics.items()}
        return values

    @torch.no_grad()
    def _mean_loss(
        self, name: str, rows: Sequence[RowT], stop: StopSignal | None, *, collects: bool
    ) -> tuple[dict[str, float], Parts[RowT]]:
        """Compute the mean loss of the rows, and their outputs if it `collects` them."""
        sums: list[dict[str, Tensor]] = []
        parts: list[tuple[Sequence[RowT], Tensor | None]] = []
        is_stopped, num_measured = False, 0
        for part in self.objective.split(self.ranks.select(rows, self.objective.num_tokens)):
            if stop:
                is_stopped = True
                break
            output = self.objective.compute_loss(part)
            sums.append(output.to_sums())
            if collects:
                is_measured = num_measured < self.max_measured_rows
                parts.append((part, output.take_outputs() if is_measured else None))
                num_measured += len(part)
        if self.ranks.any(is_stopped):
            return {}, ()
        return mean_metrics(self.ranks.add(sums), self.objective.num_items(rows), name), parts
