"""The training loop: batch, forward, backward, clip, step, log, evaluate, save."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import nn
from torch.optim import Optimizer

from worker.rundir import CheckpointWritten, Exit, Metrics, RunFolder, Started
from worker.training.best_weights import Selection
from worker.training.checkpoint import Checkpoints
from worker.training.checkpoint_interval import Cadence
from worker.training.environment import Stop
from worker.training.errors import Fault
from worker.training.objectives import Objective, means
from worker.training.recipe import CLIP_NORM, Recipe
from worker.training.sampler import Schedule
from worker.training.validation import Validation

RowT = TypeVar("RowT")


@dataclass(frozen=True, slots=True)
class Loop(Generic[RowT]):
    """One training, all of its parts made."""

    folder: RunFolder
    recipe: Recipe
    schedule: Schedule[RowT]
    objective: Objective[RowT]
    parameters: Sequence[nn.Parameter]
    optimizer: Optimizer
    validation: Validation[RowT] | None
    checkpoints: Checkpoints
    stop: Stop
    selection: Selection | None = None
    # What is to be said of the data.
    notes: Sequence[str] = ()
    # What the data is like, for traffic to be held against.
    reference: dict[str, Any] | None = None
    # Files that go with the last checkpoint, made when its weights are in place.
    last_files: Callable[[], Mapping[str, bytes]] = dict
    # What has to be done with the starting model; False if it was asked to stop in the middle.
    prepare: Callable[[], bool] = lambda: True

    def run(self) -> Exit:
        """Train from the newest checkpoint to the end, or to where it is asked to stop."""
        schedule = self.schedule
        if not self.prepare():
            return Exit.YIELDED
        done = self.checkpoints.resume()
        self._announce(done, schedule.total_steps)
        if self._is_over():
            self._announce(done, done)
            return Exit.DONE
        started = time.monotonic()
        cadence = Cadence()
        tokens = 0
        for step in range(done + 1, schedule.total_steps + 1):
            rows = schedule.batch(step)
            values = self._train(step, rows)
            tokens += self.objective.tokens(rows)
            ends_pass = schedule.ends_pass(step)
            if self.validation is not None:
                values |= self.validation.values(step, full=ends_pass, stop=self.stop)
                _require_finite(step, values)
            seconds = time.monotonic() - started
            self.folder.append(Metrics(step=step, values=values, seconds=seconds, tokens=tokens))
            if ends_pass and self.selection is not None:
                self.selection.consider(values)
            last = step == schedule.total_steps or self._is_over()
            stopping = bool(self.stop) and not last
            if ends_pass or stopping or cadence.is_due:
                with cadence.saving():
                    self._checkpoint(step, values, servable=ends_pass, last=last)
            if stopping:
                return Exit.YIELDED
            if last:
                break
        return Exit.DONE

    def _is_over(self) -> bool:
        return self.selection is not None and self.selection.is_over

    def _checkpoint(
        self, step: int, values: dict[str, float], *, servable: bool, last: bool
    ) -> None:
        # The step's loss was that of the weights before it.
        if not all(bool(torch.isfinite(each).all()) for each in self.parameters):
            raise _not_finite(step)
        if last and self.selection is not None:
            self.selection.put_best()
        if last and step < self.schedule.total_steps:
            self._announce(step, step)
        self.checkpoints.write(step, self.last_files() if last else {})
        self.folder.append(CheckpointWritten(step=step, servable=servable, values=values))

    def _announce(self, done: int, total: int) -> None:
        schedule, recipe = self.schedule, self.recipe
        self.folder.append(
            Started(
                hyperparameters={
                    "n_epochs": recipe.n_epochs,
                    "batch_size": recipe.batch_size,
                    "learning_rate_multiplier": recipe.learning_rate_multiplier,
                    **recipe.others,
                },
                total_steps=total,
                notes=list(self.notes),
                reference=self.reference,
                from_step=done,
                trained_tokens=self.objective.tokens(schedule.rows)
                * (total // schedule.steps_per_pass),
            )
        )

    def _train(self, step: int, rows: Sequence[RowT]) -> dict[str, float]:
        """One optimizer step on the mean loss of `rows`."""
        count = self.objective.count(rows)
        sums = [self._backward(part, count) for part in self.objective.split(rows)]
        norm = nn.utils.clip_grad_norm_(self.parameters, CLIP_NORM)
        values = means(sums, count, "train")
        _require_finite(step, values)
        if not torch.isfinite(norm):
            raise _not_finite(step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate(step, self.schedule.total_steps)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return values

    def _backward(self, rows: Sequence[RowT], count: int) -> dict[str, float]:
        """Add the gradients of one micro-batch, each thing counting the same in the batch."""
        score = self.objective.score(rows)
        (score.loss / count).backward()
        return score.sums()


def _require_finite(step: int, values: Mapping[str, float]) -> None:
    losses = [value for name, value in values.items() if name.endswith("loss")]
    if not all(map(math.isfinite, losses)):
        raise _not_finite(step)


def _not_finite(step: int) -> Fault:
    return Fault(
        Exit.LOSS_NOT_FINITE,
        "loss_not_finite",
        f"The loss was not a finite number at step {step}: the learning rate is too high for this "
        "file. Use a smaller learning_rate_multiplier, or look for extreme examples in the "
        "training file.",
        "learning_rate_multiplier",
    )
