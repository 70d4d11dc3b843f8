"""Divergence: a training loss that loses again what it had gained, and stays there."""

import json
import math
import statistics
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STATE_FILE = "losses.json"
# Steps whose losses are averaged: a fifth of the training, within these bounds.
MIN_WINDOW = 10
MAX_WINDOW = 50
# Share of the gain that may be lost again. Noise, or an epoch of harder batches, loses less.
MAX_LOST_GAIN = 0.5
# How far above its best a loss without any gain may rise: standard errors of a mean (the best of
# many means is already two below the average), and a share of the loss at the start.
STANDARD_ERRORS = 6.0
MIN_RISE = 0.05
# The first losses are almost the base model's: the rate is still low. A window this far above them
# has diverged before it could gain anything.
NUM_FIRST_LOSSES = 3
MAX_RISE_FROM_FIRST = 0.5
# In fewer steps a small model may not have learned anything yet.
MIN_STEPS_TO_BEAT_CHANCE = 100
# Of the loss at chance: weights with a higher loss are not worth continuing from.
MAX_GOOD_SHARE = 0.9


class DivergenceDetector:
    """Compares the mean loss of the last steps with that of the first and of the best ones.

    All means are over one window of steps. Training has diverged when the latest mean is above the
    best by more than half of what the best had gained on the first, or far above the very first
    losses. Losses that never fall are not divergence: the data may have nothing to learn. Trainings
    shorter than two windows are hardly judged.

    With `chance_loss`, the loss of a model that always predicts the labels' shares, training has
    diverged too if the loss is no better than that in its second half.
    """

    def __init__(self, total_steps: int, chance_loss: float | None = None) -> None:
        self._total_steps = total_steps
        self._chance_loss = chance_loss
        self._window = min(MAX_WINDOW, max(MIN_WINDOW, total_steps // 5))
        self._recent: deque[float] = deque(maxlen=self._window)
        self._first: list[float] = []
        self._start_mean = self._start_error = self._best_mean = math.inf
        self._best_step = 0

    @property
    def last_good_step(self) -> int:
        """Last step of the best window; 0 if that is no better than the start or than chance."""
        if not self._first:
            return 0
        limit = statistics.fmean(self._first)
        if self._chance_loss is not None:
            limit = min(limit, MAX_GOOD_SHARE * self._chance_loss)
        return self._best_step if self._best_mean <= limit else 0

    def update(self, step: int, loss: float) -> str | None:
        """Take the loss of a step; return how training has diverged, or None if it has not."""
        self._recent.append(loss)
        if len(self._first) < NUM_FIRST_LOSSES:
            self._first.append(loss)
        if len(self._recent) < self._window:
            return None
        mean = statistics.fmean(self._recent)
        if math.isinf(self._start_mean):
            self._start_mean = mean
            self._start_error = self._standard_error()
        if mean <= self._best_mean:
            self._best_mean, self._best_step = mean, step
        if self._is_at_chance(step, mean):
            return "is no better than a guess by the labels' shares"
        if self._is_far_above_first(mean):
            return "is far above that of the first steps"
        if step - self._best_step >= self._window and mean > self._best_mean + self._max_rise():
            return f"has lost most of what it had gained until step {self._best_step}"
        return None

    def _is_at_chance(self, step: int, mean: float) -> bool:
        if self._chance_loss is None or self._total_steps < MIN_STEPS_TO_BEAT_CHANCE:
            return False
        is_late = step >= self._total_steps // 2 and step % self._window == 0
        return is_late and mean >= self._chance_loss - self._standard_error()

    def _is_far_above_first(self, mean: float) -> bool:
        first = statistics.fmean(self._first)
        # A mean of few losses is itself uncertain.
        uncertainty = math.sqrt(self._window / len(self._first))
        noise = STANDARD_ERRORS * self._standard_error() * uncertainty
        return mean > first + max(MAX_RISE_FROM_FIRST * abs(first), noise)

    def _max_rise(self) -> float:
        gain = self._start_mean - self._best_mean
        noise = STANDARD_ERRORS * max(self._start_error, self._standard_error())
        return max(MAX_LOST_GAIN * gain, noise, MIN_RISE * abs(self._start_mean))

    def _standard_error(self) -> float:
        return statistics.pstdev(self._recent) / math.sqrt(self._window)

    def to_files(self) -> Mapping[str, bytes]:
        """Make the state that a resumed run needs."""
        state: dict[str, Any] = {
            "first": self._first,
            "recent": list(self._recent),
            "best_step": self._best_step,
        }
        if math.isfinite(self._start_mean):
            state |= {
                "start_mean": self._start_mean,
                "start_error": self._start_error,
                "best_mean": self._best_mean,
            }
        return {STATE_FILE: json.dumps(state).encode()}

    def load(self, folder: Path) -> None:
        """Restore the state from a checkpoint; one of a previous version has none."""
        path = folder / STATE_FILE
        if not path.exists():
            return
        state = json.loads(path.read_bytes())
        self._first.extend(state["first"])
        self._recent.extend(state["recent"])
        self._best_step = state["best_step"]
        self._start_mean = state.get("start_mean", math.inf)
        self._start_error = state.get("start_error", math.inf)
        self._best_mean = state.get("best_mean", math.inf)
