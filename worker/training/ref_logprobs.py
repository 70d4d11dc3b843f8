"""DPO's reference log-probabilities, precomputed with the initial model before the first step.

Each row is computed in the micro-batch in which training first uses it. Matrix products of other
sizes round in another way, over hundreds of tokens by more than the first steps change; in the same
micro-batch both models round alike, and the first loss is that of indifference.

The values are stored with every checkpoint: an attempt that resumes does not compute them again,
and trains against bit-identical ones.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from worker.run_folder import CheckpointWritten, Preparing, RunFolder
from worker.training.checkpoint import Checkpointer
from worker.training.environment import StopSignal
from worker.training.ranks import ALONE, Ranks

RowT = TypeVar("RowT")

REF_LOGPROBS_FILE = "reference.safetensors"
LOGPROBS_TENSOR = "log_probabilities"
# A computation that took longer is checkpointed before the first training step.
MIN_SECONDS_TO_CHECKPOINT = 60.0
# The supervisor kills a process that writes no events as hung.
PROGRESS_INTERVAL_SECONDS = 10.0


class LogprobModel(Protocol[RowT]):
    """Computes log-probabilities with the model's current weights."""

    def split(self, rows: Sequence[RowT], /) -> Iterable[Sequence[RowT]]: ...

    def num_tokens(self, rows: Sequence[RowT], /) -> int: ...

    def logprobs(self, rows: Sequence[RowT], /) -> Tensor: ...


class RefLogprobs(Generic[RowT]):
    """Log-probabilities [rows, 2] of the initial model; not a number where not computed yet."""

    def __init__(self, rows: Sequence[RowT]) -> None:
        self.rows = rows
        self._index = {row: index for index, row in enumerate(rows)}
        self._values = torch.full((len(rows), 2), torch.nan)

    @property
    def num_computed(self) -> int:
        return int(self._values.isfinite().all(1).sum())

    def has(self, rows: Iterable[RowT]) -> bool:
        """True if all of these rows are computed."""
        return bool(self.get(rows).isfinite().all())

    def get(self, rows: Iterable[RowT]) -> Tensor:
        """Return the log-probabilities of computed rows: [rows, 2] in float32."""
        return self._values[[self._index[row] for row in rows]]

    def set(self, rows: Sequence[RowT], values: Tensor) -> None:
        """Fill in some rows."""
        self._values[[self._index[row] for row in rows]] = values.float().cpu()

    def share(self, ranks: Ranks) -> None:
        """Exchange values with the other ranks: each then has those of all."""
        self._values = ranks.merge(self._values)

    def to_files(self) -> dict[str, bytes]:
        """Files to store in a checkpoint."""
        return {REF_LOGPROBS_FILE: save({LOGPROBS_TENSOR: self._values})}

    def load(self, folder: Path) -> None:
        """Load the values stored in a checkpoint; earlier versions stored the first rows only."""
        values = load_file(folder / REF_LOGPROBS_FILE)[LOGPROBS_TENSOR]
        self._values[: len(values)] = values


@dataclass(frozen=True, slots=True)
class RefLogprobsPrecomputer(Generic[RowT]):
    """Fills in the reference log-probabilities before any checkpoint's weights are restored.

    `batches` has each row of `ref_logprobs` in the batch in which it is first used.
    """

    ref_logprobs: RefLogprobs[RowT]
    batches: Iterable[Sequence[RowT]]
    model: LogprobModel[RowT]
    folder: RunFolder
    checkpointer: Checkpointer
    stop: StopSignal
    ranks: Ranks = ALONE
    clock: Callable[[], float] = time.monotonic

    def run(self) -> bool:
        """Compute the values that no checkpoint has; return False if a stop was requested."""
        latest = self.checkpointer.find_latest()
        if latest is not None:
            self.ref_logprobs.load(latest)
        started_at, num_before = self.clock(), self.ref_logprobs.num_computed
        is_complete = self._fill()
        self.ref_logprobs.share(self.ranks)
        took_long = self.clock() - started_at > MIN_SECONDS_TO_CHECKPOINT
        if self.ref_logprobs.num_computed > num_before and (took_long or not is_complete):
            self.checkpointer.write(0)
            self.folder.append_event(CheckpointWritten(step=0, servable=False))
        return is_complete

    @torch.no_grad()
    def _fill(self) -> bool:
        total = len(self.ref_logprobs.rows)
        reported_at = self.clock()
        for batch in self.batches:
            own_rows = self.ranks.select(batch, self.model.num_tokens)
            is_stopped = False
            for part in self.model.split(own_rows):
                if self.ref_logprobs.has(part):
                    continue
                if self.stop:
                    is_stopped = True
                    break
                self.ref_logprobs.set(part, self.model.logprobs(part))
                if self.clock() - reported_at > PROGRESS_INTERVAL_SECONDS:
                    done = self.ref_logprobs.num_computed
                    self.folder.append_event(Preparing(done=done, total=total))
                    reported_at = self.clock()
            if self.ranks.any(is_stopped):
                return False
        return True
