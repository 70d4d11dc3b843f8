"""Comparison of the trained model with the one that training started from, on the same rows."""

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from worker.training.objectives import Objective

RowT = TypeVar("RowT")

STATE_FILE = "start.json"
# Bound of the tokens that are measured: a share of those that are trained, which a forward pass
# costs a third of, but some rows of any job. A validation file is measured at its end anyway; rows
# of the training file once more, and its owner waits for it.
MAX_TOKEN_SHARE = 0.05
MIN_TOKENS = {"validation": 4096, "training": 512}
# A model whose last batch had less than this share of the start's loss has learned. The losses of
# batches vary by less, and nothing is measured again.
CLEARLY_LOWER = 0.75
# Mean loss of the whole validation file, by which the best epoch is chosen.
WHOLE_FILE_LOSS = "full_valid_loss"


class StartComparison(Generic[RowT]):
    """Losses before the first and after the last step: a model that learned has the lower one.

    The whole file is compared, as the best epoch is chosen by it, or evenly spaced rows of one that
    is large for its job.
    """

    def __init__(
        self,
        rows: Sequence[RowT],
        objective: Objective[RowT],
        *,
        role: str,
        trained_tokens: int,
        report_progress: Callable[[int], None],
    ) -> None:
        """Compare on `rows`, those of the job's `role` file, or on some of them."""
        max_tokens = max(MIN_TOKENS[role], int(MAX_TOKEN_SHARE * trained_tokens))
        self._rows = _select(rows, objective, max_tokens)
        self._is_whole_validation = role == "validation" and len(self._rows) == len(rows)
        self._objective = objective
        self._role = role
        self._report_progress = report_progress
        self._start_weights: list[Tensor] = []
        self._start_loss: float | None = None

    def begin(self, checkpoint: Path | None, parameters: Sequence[nn.Parameter]) -> None:
        """Keep the weights that training starts from, or read their loss from a checkpoint.

        `parameters` are all that are trained. Nothing is compared if the checkpoint, which training
        resumes from, is of a previous version, which measured other rows or none.
        """
        if checkpoint is None:
            self._start_weights = [parameter.detach().clone() for parameter in parameters]
        elif (checkpoint / STATE_FILE).exists():
            state = json.loads((checkpoint / STATE_FILE).read_bytes())
            if state.get("num_rows") == len(self._rows):
                self._start_loss = state["loss"]

    @torch.no_grad()
    def measure_start(self, parameters: Sequence[nn.Parameter]) -> None:
        """Measure the loss of the kept weights, if there are any; `parameters` stay as they are.

        After the first step, which users wait for. No stop is noticed meanwhile.
        """
        if not self._start_weights:
            return
        present = [parameter.detach().clone() for parameter in parameters]
        _set_weights(parameters, self._start_weights)
        self._start_loss = self._measure()
        _set_weights(parameters, present)
        self._start_weights = []

    def to_files(self) -> Mapping[str, bytes]:
        """Make the state that a resumed run needs."""
        if self._start_loss is None:
            return {}
        state = {"loss": self._start_loss, "num_rows": len(self._rows)}
        return {STATE_FILE: json.dumps(state).encode()}

    def warn(self, values: Mapping[str, float]) -> str | None:
        """Return a sentence if the model's loss is higher than it was at the start.

        `values` are the metrics of the epoch that became the model.
        """
        if self._start_loss is None:
            return None
        last = values.get("train_loss", math.inf)
        if self._role == "training" and last < CLEARLY_LOWER * self._start_loss:
            return None
        loss = values.get(WHOLE_FILE_LOSS) if self._is_whole_validation else None
        loss = self._measure() if loss is None else loss
        if loss <= self._start_loss:
            return None
        return (
            f"The trained model is worse than the one that it started from: on {len(self._rows)} "
            f"rows of the {self._role} file its loss is {loss:.2f}, and was {self._start_loss:.2f} "
            "before training. Use a smaller learning_rate_multiplier or fewer epochs, or more rows."
        )

    @torch.no_grad()
    def _measure(self) -> float:
        total, done = 0.0, 0
        for part in self._objective.split(self._rows):
            total += self._objective.compute_loss(part).loss.item()
            done += len(part)
            self._report_progress(done)
        return total / self._objective.num_items(self._rows)


def _set_weights(parameters: Sequence[nn.Parameter], weights: Sequence[Tensor]) -> None:
    for parameter, weight in zip(parameters, weights, strict=True):
        parameter.copy_(weight)


def _select(rows: Sequence[RowT], objective: Objective[RowT], max_tokens: int) -> Sequence[RowT]:
    """Select all rows, or evenly spaced ones that have `max_tokens` together, but at least one."""
    step = -(-objective.num_tokens(rows) // max_tokens)
    spaced = rows[:: max(1, step)]
    totals = itertools.accumulate(objective.num_tokens([row]) for row in spaced)
    return spaced[: max(1, sum(total <= max_tokens for total in totals))]
