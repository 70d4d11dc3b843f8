"""The training loop: batch, forward, backward, clip, step, log, evaluate, save."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from app.recipes.chat import Recipe
from worker.run_folder import CheckpointWritten, ExitCode, Metrics, Noted, RunFolder, Started
from worker.training.best_weights import BestWeights
from worker.training.checkpoint import Checkpointer
from worker.training.checkpoint_interval import CheckpointInterval
from worker.training.divergence import DivergenceDetector
from worker.training.environment import StopSignal
from worker.training.errors import TrainingError
from worker.training.loss_warnings import LossWarnings
from worker.training.objectives import Objective, mean_metrics
from worker.training.optimizer import ClippingAdamW
from worker.training.ranks import ALONE, Ranks
from worker.training.sampler import EpochSampler
from worker.training.start_comparison import StartComparison
from worker.training.validation import Validation

RowT = TypeVar("RowT")


@dataclass(frozen=True, slots=True)
class TrainingLoop(Generic[RowT]):
    """A training run with all of its parts. `run` drives it to the end or to a stop request."""

    folder: RunFolder
    recipe: Recipe
    sampler: EpochSampler[RowT]
    objective: Objective[RowT]
    parameters: Sequence[nn.Parameter]
    optimizer: ClippingAdamW
    validation: Validation[RowT] | None
    checkpointer: Checkpointer
    stop: StopSignal
    divergence: DivergenceDetector
    # Processes that take each step together, of which this is one.
    ranks: Ranks = ALONE
    best_weights: BestWeights | None = None
    # For methods whose model can do its task before training.
    start_comparison: StartComparison[RowT] | None = None
    # Sentences for the job's owner about the training data.
    data_warnings: Sequence[str] = ()
    # Statistics of the training file that live traffic is compared with.
    drift_baseline: dict[str, Any] | None = None
    # True if earlier attempts had other rows, so that this one begins again.
    has_other_data: bool = False
    # Makes the files that only the last checkpoint has, after its weights were restored.
    final_files: Callable[[], Mapping[str, bytes]] = dict
    # Runs on the initial model before the first step; False if it was interrupted by a stop.
    prepare: Callable[[], bool] = lambda: True

    def run(self) -> ExitCode:
        """Train from the latest checkpoint to the end, or until a stop is requested."""
        sampler = self.sampler
        if not self.prepare():
            return ExitCode.YIELDED
        done = self.checkpointer.resume()
        if done:
            self.divergence.load(self.folder.checkpoint(done))
        self._append_started(done, sampler.total_steps)
        if self.start_comparison is not None:
            checkpoint = self.folder.checkpoint(done) if done else None
            self.start_comparison.begin(checkpoint, self.parameters)
        values = self._evaluate_interrupted_epoch(done)
        if self._is_out_of_patience():
            if values:
                # Its checkpoint was written before it was known to be the last one.
                self._write_checkpoint(done, values, servable=True, is_last=True)
            else:
                self._append_started(done, done)
                self._compare_with_start({})
            return ExitCode.DONE
        if done == sampler.total_steps:
            # The earlier attempt was lost after its last checkpoint.
            self._compare_with_start({})
        started = time.monotonic()
        interval = CheckpointInterval()
        loss_warnings = LossWarnings()
        tokens = 0
        for step in range(done + 1, sampler.total_steps + 1):
            rows = sampler.batch(step)
            values, norm = self._optimizer_step(step, rows)
            tokens += self.objective.num_tokens(rows)
            is_epoch_end = sampler.is_epoch_end(step)
            if self.validation is not None:
                values |= self.validation.compute_metrics(
                    step, full=is_epoch_end, stop=None if step == sampler.total_steps else self.stop
                )
                self._require_finite(step, values)
            seconds = time.monotonic() - started
            # Not among a checkpoint's values, by which epochs are compared.
            state = {"learning_rate": self._learning_rate(step), "gradient_norm": norm}
            self.folder.append_event(
                Metrics(step=step, values={**values, **state}, seconds=seconds, tokens=tokens)
            )
            started += self._measure_start()
            for note in loss_warnings.update(step, values, is_epoch_end=is_epoch_end):
                self.folder.append_event(note)
            if how := self.divergence.update(step, values["train_loss"]):
                raise self._diverged_error(step, how)
            if is_epoch_end and self.best_weights is not None:
                self.best_weights.update(step, values)
            is_last = step == sampler.total_steps or self._is_out_of_patience()
            is_stopping = self.ranks.any(bool(self.stop)) and not is_last
            if is_epoch_end or is_stopping or interval.is_due:
                with interval.time_save():
                    self._write_checkpoint(step, values, servable=is_epoch_end, is_last=is_last)
            if is_stopping:
                return ExitCode.YIELDED
            if is_last:
                break
        return ExitCode.DONE

    def _evaluate_interrupted_epoch(self, step: int) -> dict[str, float]:
        """Evaluate the epoch that ended as a stop was requested, which skips its evaluation.

        The best epoch then does not depend on interruptions. Returns the epoch's metrics, or none
        if it was evaluated before.
        """
        best, validation = self.best_weights, self.validation
        if best is None or validation is None or not step or not self.sampler.is_epoch_end(step):
            return {}
        if best.has_compared(step):
            return {}
        values = validation.compute_metrics(step, full=True, stop=None)
        best.update(step, values)
        return values

    def _is_out_of_patience(self) -> bool:
        return self.best_weights is not None and self.best_weights.is_out_of_patience

    def _write_checkpoint(
        self, step: int, values: dict[str, float], *, servable: bool, is_last: bool
    ) -> None:
        # This step's loss was computed before its update, so these weights are checked themselves.
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self.parameters):
            raise self._not_finite_error(step)
        if is_last and self.best_weights is not None:
            self.best_weights.restore()
            values = values | self._report_best(step, self.best_weights)
        if is_last and step < self.sampler.total_steps:
            self._append_started(step, step)
            self._report_early_stop(step)
        files = {**self._state_files(), **(self.final_files() if is_last else {})}
        self.checkpointer.write(step, files, is_last=is_last)
        self.folder.append_event(CheckpointWritten(step=step, servable=servable, values=values))
        if is_last:
            # Last: the checkpoint is uploaded meanwhile.
            self._compare_with_start(values)

    def _state_files(self) -> dict[str, bytes]:
        start = {} if self.start_comparison is None else self.start_comparison.to_files()
        return {**self.divergence.to_files(), **start}

    def _measure_start(self) -> float:
        """Measure the loss that training started from, after the first step; return the seconds.

        They are no part of the step's time.
        """
        began = time.monotonic()
        if self.start_comparison is not None:
            self.start_comparison.measure_start(self.parameters)
        return time.monotonic() - began

    def _compare_with_start(self, values: Mapping[str, float]) -> None:
        """Warn if the weights of the model are worse than those that training started from."""
        warning = None if self.start_comparison is None else self.start_comparison.warn(values)
        if warning is not None:
            self.folder.append_event(Noted(key="start", message=warning, is_warning=True))

    def _report_best(self, step: int, best: BestWeights) -> dict[str, float]:
        """Tell which epoch became the model, if it is not the last one; return its metrics."""
        if not best.keeps_best or best.best_step in (None, step):
            return {}
        epoch = best.best_step // self.sampler.steps_per_epoch if best.best_step else 0
        last = step // self.sampler.steps_per_epoch
        message = (
            f"The model has the weights of epoch {epoch} (step {best.best_step}), which was better "
            f"by {best.metric} than the last one, epoch {last}"
        )
        self.folder.append_event(Noted(key="kept", message=message))
        return best.best_metrics

    def _report_early_stop(self, step: int) -> None:
        """Tell why training ended before its last epoch."""
        best, per_epoch = self.best_weights, self.sampler.steps_per_epoch
        assert best is not None
        message = (
            f"Training stopped early after epoch {step // per_epoch} of "
            f"{self.sampler.total_steps // per_epoch} (step {step}): {best.metric} has not "
            f"improved for early_stopping_patience = {best.patience} epochs"
        )
        self.folder.append_event(Noted(key="stopped_early", message=message))

    def _append_started(self, done: int, total: int) -> None:
        sampler, recipe = self.sampler, self.recipe
        self.folder.append_event(
            Started(
                hyperparameters=recipe.report(),
                total_steps=total,
                data_warnings=list(self.data_warnings),
                drift_baseline=self.drift_baseline,
                from_step=done,
                has_other_data=self.has_other_data and done == 0,
                trained_tokens=self.objective.num_tokens(sampler.rows)
                * (total // sampler.steps_per_epoch),
            )
        )

    def _optimizer_step(self, step: int, rows: Sequence[RowT]) -> tuple[dict[str, float], float]:
        """Take one optimizer step on the mean loss of `rows`, by gradient accumulation.

        Returns the metrics of the step, and the norm of the gradients before they were clipped.
        """
        objective, ranks = self.objective, self.ranks
        num_items = objective.num_items(rows)
        ranks.seed_step(step)
        own_rows = ranks.select(rows, objective.num_tokens)
        sums = [self._backward(part, num_items) for part in objective.split(own_rows)]
        ranks.add_gradients(self.parameters)
        clipped = self.optimizer.clip(self.recipe.max_grad_norm)
        # Until here nothing has waited for the device.
        norm = float(clipped)
        values = mean_metrics(ranks.add(sums), num_items, "train")
        self._require_finite(step, values)
        if not math.isfinite(norm):
            raise self._not_finite_error(step)
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate(step)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return values, norm

    def _learning_rate(self, step: int) -> float:
        return self.recipe.learning_rate(step, self.sampler.total_steps)

    def _backward(self, rows: Sequence[RowT], num_items: int) -> dict[str, Tensor]:
        """Accumulate one micro-batch's gradients, weighting every item of the batch equally."""
        output = self.objective.compute_loss(rows)
        (output.loss / num_items).backward()
        return output.to_sums()

    def _require_finite(self, step: int, values: Mapping[str, float]) -> None:
        losses = [value for name, value in values.items() if name.endswith("loss")]
        if not all(map(math.isfinite, losses)):
            raise self._not_finite_error(step)

    def _not_finite_error(self, step: int) -> TrainingError:
        return TrainingError(
            ExitCode.LOSS_NOT_FINITE,
            "loss_not_finite",
            f"The loss was not a finite number at step {step}: the learning rate is too high for "
            "this file. Use a smaller learning_rate_multiplier, or look for extreme examples in "
            "the training file.",
            "learning_rate_multiplier",
            last_good_step=self.divergence.last_good_step,
        )

    def _diverged_error(self, step: int, how: str) -> TrainingError:
        return TrainingError(
            ExitCode.DIVERGED,
            "training_diverged",
            f"Training diverged: at step {step} the loss {how}. The learning rate is too high for "
            "this file, or there is nothing in it to learn. Use a smaller "
            "learning_rate_multiplier or a larger batch_size.",
            "learning_rate_multiplier",
            last_good_step=self.divergence.last_good_step,
        )
