"""The training loop: batch, forward, backward, clip, step, log, evaluate, save."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import nn
from torch.optim import Optimizer

from worker.rundir import CheckpointWritten, ExitCode, Metrics, RunFolder, Started
from worker.training.best_weights import BestWeights
from worker.training.checkpoint import Checkpointer
from worker.training.checkpoint_interval import CheckpointInterval
from worker.training.environment import StopSignal
from worker.training.errors import TrainingError
from worker.training.objectives import Objective, mean_metrics
from worker.training.recipe import MAX_GRAD_NORM, Recipe
from worker.training.sampler import EpochSampler
from worker.training.validation import Validation

RowT = TypeVar("RowT")


@dataclass(frozen=True, slots=True)
class TrainingLoop(Generic[RowT]):
    """One training, all of its parts made."""

    folder: RunFolder
    recipe: Recipe
    sampler: EpochSampler[RowT]
    objective: Objective[RowT]
    parameters: Sequence[nn.Parameter]
    optimizer: Optimizer
    validation: Validation[RowT] | None
    checkpointer: Checkpointer
    stop: StopSignal
    best_weights: BestWeights | None = None
    # What is to be said of the data.
    data_warnings: Sequence[str] = ()
    # What the data is like, for traffic to be held against.
    drift_baseline: dict[str, Any] | None = None
    # Files that go with the last checkpoint, made when its weights are in place.
    final_files: Callable[[], Mapping[str, bytes]] = dict
    # What has to be done with the starting model; False if it was asked to stop in the middle.
    prepare: Callable[[], bool] = lambda: True

    def run(self) -> ExitCode:
        """Train from the newest checkpoint to the end, or to where it is asked to stop."""
        schedule = self.sampler
        if not self.prepare():
            return ExitCode.YIELDED
        done = self.checkpointer.resume()
        self._append_started(done, schedule.total_steps)
        if self._is_out_of_patience():
            self._append_started(done, done)
            return ExitCode.DONE
        started = time.monotonic()
        cadence = CheckpointInterval()
        tokens = 0
        for step in range(done + 1, schedule.total_steps + 1):
            rows = schedule.batch(step)
            values = self._optimizer_step(step, rows)
            tokens += self.objective.num_tokens(rows)
            ends_pass = schedule.is_epoch_end(step)
            if self.validation is not None:
                values |= self.validation.compute_metrics(step, full=ends_pass, stop=self.stop)
                _require_finite(step, values)
            seconds = time.monotonic() - started
            self.folder.append_event(
                Metrics(step=step, values=values, seconds=seconds, tokens=tokens)
            )
            if ends_pass and self.best_weights is not None:
                self.best_weights.update(values)
            last = step == schedule.total_steps or self._is_out_of_patience()
            stopping = bool(self.stop) and not last
            if ends_pass or stopping or cadence.is_due:
                with cadence.time_save():
                    self._write_checkpoint(step, values, servable=ends_pass, last=last)
            if stopping:
                return ExitCode.YIELDED
            if last:
                break
        return ExitCode.DONE

    def _is_out_of_patience(self) -> bool:
        return self.best_weights is not None and self.best_weights.is_out_of_patience

    def _write_checkpoint(
        self, step: int, values: dict[str, float], *, servable: bool, last: bool
    ) -> None:
        # The step's loss was that of the weights before it.
        if not all(bool(torch.isfinite(each).all()) for each in self.parameters):
            raise _not_finite_error(step)
        if last and self.best_weights is not None:
            self.best_weights.restore()
        if last and step < self.sampler.total_steps:
            self._append_started(step, step)
        self.checkpointer.write(step, self.final_files() if last else {})
        self.folder.append_event(CheckpointWritten(step=step, servable=servable, values=values))

    def _append_started(self, done: int, total: int) -> None:
        schedule, recipe = self.sampler, self.recipe
        self.folder.append_event(
            Started(
                hyperparameters={
                    "n_epochs": recipe.n_epochs,
                    "batch_size": recipe.batch_size,
                    "learning_rate_multiplier": recipe.learning_rate_multiplier,
                    **recipe.extra,
                },
                total_steps=total,
                data_warnings=list(self.data_warnings),
                drift_baseline=self.drift_baseline,
                from_step=done,
                trained_tokens=self.objective.num_tokens(schedule.rows)
                * (total // schedule.steps_per_epoch),
            )
        )

    def _optimizer_step(self, step: int, rows: Sequence[RowT]) -> dict[str, float]:
        """One optimizer step on the mean loss of `rows`."""
        count = self.objective.num_items(rows)
        sums = [self._backward(part, count) for part in self.objective.split(rows)]
        norm = nn.utils.clip_grad_norm_(self.parameters, MAX_GRAD_NORM)
        values = mean_metrics(sums, count, "train")
        _require_finite(step, values)
        if not torch.isfinite(norm):
            raise _not_finite_error(step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate(step, self.sampler.total_steps)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return values

    def _backward(self, rows: Sequence[RowT], count: int) -> dict[str, float]:
        """Add the gradients of one micro-batch, each thing counting the same in the batch."""
        score = self.objective.compute_loss(rows)
        (score.loss / count).backward()
        return score.to_sums()


def _require_finite(step: int, values: Mapping[str, float]) -> None:
    losses = [value for name, value in values.items() if name.endswith("loss")]
    if not all(map(math.isfinite, losses)):
        raise _not_finite_error(step)


def _not_finite_error(step: int) -> TrainingError:
    return TrainingError(
        ExitCode.LOSS_NOT_FINITE,
        "loss_not_finite",
        f"The loss was not a finite number at step {step}: the learning rate is too high for this "
        "file. Use a smaller learning_rate_multiplier, or look for extreme examples in the "
        "training file.",
        "learning_rate_multiplier",
    )
