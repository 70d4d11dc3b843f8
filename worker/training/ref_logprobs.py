"""DPO's reference log-probabilities, precomputed with the initial model before the first step.

They are stored with every checkpoint: an attempt that resumes does not compute them again, and
trains against bit-identical values.
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

RowT = TypeVar("RowT")

REF_LOGPROBS_FILE = "reference.safetensors"
LOGPROBS_TENSOR = "log_probabilities"
# Rows per unit of progress; each chunk is computed in micro-batches of similar length.
CHUNK_ROWS = 64
# A computation that took longer is checkpointed before the first training step.
MIN_SECONDS_TO_CHECKPOINT = 60.0
# The supervisor kills a process that writes no events as hung.
PROGRESS_INTERVAL_SECONDS = 10.0


class LogprobModel(Protocol[RowT]):
    """Computes log-probabilities with the model's current weights."""

    def split(self, rows: Sequence[RowT], /) -> Iterable[Sequence[RowT]]: ...

    def logprobs(self, rows: Sequence[RowT], /) -> Tensor: ...


class RefLogprobs(Generic[RowT]):
    """Log-probabilities [rows, 2] of the initial model, of which `num_computed` are filled in."""

    def __init__(self, rows: Sequence[RowT]) -> None:
        self.rows = rows
        self.num_computed = 0
        self._index = {row: index for index, row in enumerate(rows)}
        self._values = torch.zeros(len(rows), 2)

    def get(self, rows: Iterable[RowT]) -> Tensor:
        """Return the log-probabilities of computed rows: [rows, 2] in float32."""
        return self._values[[self._index[row] for row in rows]]

    def set(self, rows: Sequence[RowT], values: Tensor) -> None:
        """Fill in some rows; they count once `num_computed` covers them."""
        self._values[[self._index[row] for row in rows]] = values.float().cpu()

    def to_files(self) -> dict[str, bytes]:
        """Files to store in a checkpoint."""
        return {
            REF_LOGPROBS_FILE: save({LOGPROBS_TENSOR: self._values[: self.num_computed].clone()})
        }

    def load(self, folder: Path) -> None:
        """Load the values stored in a checkpoint."""
        values = load_file(folder / REF_LOGPROBS_FILE)[LOGPROBS_TENSOR]
        self.num_computed = len(values)
        self._values[: self.num_computed] = values


@dataclass(frozen=True, slots=True)
class RefLogprobsPrecomputer(Generic[RowT]):
    """Fills in the reference log-probabilities before any checkpoint's weights are restored."""

    ref_logprobs: RefLogprobs[RowT]
    model: LogprobModel[RowT]
    folder: RunFolder
    checkpointer: Checkpointer
    stop: StopSignal
    clock: Callable[[], float] = time.monotonic

    def run(self) -> bool:
        """Compute the values that no checkpoint has; return False if a stop was requested."""
        latest = self.checkpointer.find_latest()
        if latest is not None:
            self.ref_logprobs.load(latest)
        started_at, num_before = self.clock(), self.ref_logprobs.num_computed
        is_complete = self._fill()
        took_long = self.clock() - started_at > MIN_SECONDS_TO_CHECKPOINT
        if self.ref_logprobs.num_computed > num_before and (took_long or not is_complete):
            self.checkpointer.write(0)
            self.folder.append_event(CheckpointWritten(step=0, servable=False))
        return is_complete

    @torch.no_grad()
    def _fill(self) -> bool:
        rows = self.ref_logprobs.rows
        reported_at = self.clock()
        for start in range(self.ref_logprobs.num_computed, len(rows), CHUNK_ROWS):
            chunk = rows[start : start + CHUNK_ROWS]
            for part in self.model.split(chunk):
                if self.stop:
                    return False
                self.ref_logprobs.set(part, self.model.logprobs(part))
                if self.clock() - reported_at > PROGRESS_INTERVAL_SECONDS:
                    self.folder.append_event(Preparing(done=start, total=len(rows)))
                    reported_at = self.clock()
            self.ref_logprobs.num_computed = start + len(chunk)
        return True
