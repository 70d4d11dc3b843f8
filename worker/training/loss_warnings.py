"""Warnings about a job's losses: single spikes, and overfitting to the training file.

Neither ends the job, unlike divergence (`worker.training.divergence`).
"""

import statistics
from collections import deque
from collections.abc import Iterator, Mapping

from worker.run_folder import Noted

# Losses before a step with which it is compared.
SPIKE_WINDOW = 20
MIN_LOSSES = 10
# A spike is above their mean by this many standard deviations, and by this share of it.
SPIKE_DEVIATIONS = 6.0
MIN_SPIKE_SHARE = 0.5
MAX_SPIKE_WARNINGS = 3
# Share by which the validation loss has to be above its best, since it is noisy itself.
MIN_VALIDATION_RISE = 0.02


class LossWarnings:
    """Compares each loss of an attempt with those before it."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=SPIKE_WINDOW)
        self._num_spikes = 0
        self._epoch_losses: list[float] = []
        self._last_epoch_mean: float | None = None
        self._best_valid: tuple[float, int] | None = None

    def update(
        self, step: int, values: Mapping[str, float], *, is_epoch_end: bool
    ) -> Iterator[Noted]:
        """Take the metrics of a step; yield what its job's owner should know of them."""
        loss = values["train_loss"]
        if self._is_spike(loss):
            self._num_spikes += 1
            yield Noted(
                key=f"loss_spike:{step}",
                message=f"The training loss of step {step} is {loss:.2f}, far above the "
                f"{statistics.fmean(self._recent):.2f} of the steps before. Look for unusual "
                "examples, or use a smaller learning_rate_multiplier.",
                is_warning=True,
            )
        self._recent.append(loss)
        self._epoch_losses.append(loss)
        if is_epoch_end:
            yield from self._compare_epochs(step, values.get("full_valid_loss"))

    def _is_spike(self, loss: float) -> bool:
        if len(self._recent) < MIN_LOSSES or self._num_spikes >= MAX_SPIKE_WARNINGS:
            return False
        mean = statistics.fmean(self._recent)
        deviation = statistics.pstdev(self._recent)
        return loss > mean + max(SPIKE_DEVIATIONS * deviation, MIN_SPIKE_SHARE * mean)

    def _compare_epochs(self, step: int, valid_loss: float | None) -> Iterator[Noted]:
        """Warn if the validation loss rises while the training loss falls."""
        mean = statistics.fmean(self._epoch_losses)
        has_learned = self._last_epoch_mean is not None and mean < self._last_epoch_mean
        self._epoch_losses, self._last_epoch_mean = [], mean
        if valid_loss is None:
            return
        if self._best_valid is None or valid_loss <= self._best_valid[0]:
            self._best_valid = valid_loss, step
            return
        best, best_step = self._best_valid
        if has_learned and valid_loss > best * (1 + MIN_VALIDATION_RISE):
            yield Noted(
                key="overfitting",
                message=f"The model begins to overfit: the validation loss has risen from "
                f"{best:.2f} (step {best_step}) to {valid_loss:.2f} (step {step}), while the "
                "training loss falls. Use fewer epochs, more examples, or early_stopping_patience.",
                is_warning=True,
            )
