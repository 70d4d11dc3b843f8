"""Comparison of the trained model with the one that training started from, on the same rows."""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import torch

from worker.training.objectives import Objective

RowT = TypeVar("RowT")

STATE_FILE = "start.json"
# Rows that are compared, evenly spaced in the file. Each costs two forward passes in all, in which
# nothing is reported and no stop is noticed, so they must not take much longer than a step.
MAX_ROWS = 64
MAX_TOKENS = 4096


class StartComparison(Generic[RowT]):
    """Losses before the first and after the last step: a model that learned has the lower one."""

    def __init__(self, rows: Sequence[RowT], objective: Objective[RowT], *, role: str) -> None:
        """Compare on some of `rows`, those of the job's `role` file."""
        step = -(-len(rows) // MAX_ROWS)
        self._rows = _take_tokens(rows[::step], objective)
        self._objective = objective
        self._role = role
        self._start_loss: float | None = None

    def begin(self, checkpoint: Path | None) -> None:
        """Measure the start's loss, or read it from the checkpoint that training resumes from.

        Checkpoints of previous versions have none: nothing is compared then.
        """
        if checkpoint is None:
            self._start_loss = self._measure()
        elif (checkpoint / STATE_FILE).exists():
            self._start_loss = json.loads((checkpoint / STATE_FILE).read_bytes())["loss"]

    def to_files(self) -> Mapping[str, bytes]:
        """Make the state that a resumed run needs."""
        if self._start_loss is None:
            return {}
        return {STATE_FILE: json.dumps({"loss": self._start_loss}).encode()}

    def warn(self) -> str | None:
        """Return a sentence if the model's loss now is higher than it was at the start."""
        if self._start_loss is None:
            return None
        loss = self._measure()
        if loss <= self._start_loss:
            return None
        return (
            f"The trained model is worse than the one that it started from: on {len(self._rows)} "
            f"rows of the {self._role} file its loss is {loss:.2f}, and was {self._start_loss:.2f} "
            "before training. Use a smaller learning_rate_multiplier or fewer epochs, or more rows."
        )

    @torch.no_grad()
    def _measure(self) -> float:
        parts = self._objective.split(self._rows)
        losses = [self._objective.compute_loss(part).loss.item() for part in parts]
        return sum(losses) / self._objective.num_items(self._rows)


def _take_tokens(rows: Sequence[RowT], objective: Objective[RowT]) -> Sequence[RowT]:
    """Take the first row, and those after it until they have MAX_TOKENS together."""
    totals = itertools.accumulate(objective.num_tokens([row]) for row in rows)
    return rows[: max(1, sum(total <= MAX_TOKENS for total in totals))]
