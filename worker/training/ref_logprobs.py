"""What the starting model thinks of each row: computed once, before the first step changes it.

It is kept with every checkpoint, so that an attempt that continues another does not compute it
again, and trains against the same numbers to the bit.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from worker.rundir import CheckpointWritten, Preparing, RunFolder
from worker.training.checkpoint import Checkpointer
from worker.training.environment import StopSignal

RowT = TypeVar("RowT")

REF_LOGPROBS_FILE = "reference.safetensors"
LOGPROBS_TENSOR = "log_probabilities"
# Rows that become known together, in micro-batches of similar lengths.
CHUNK_ROWS = 64
# What took longer is kept even if training has not made a step yet.
MIN_SECONDS_TO_CHECKPOINT = 60.0
# The supervisor takes a process that writes nothing for one that hangs.
PROGRESS_INTERVAL_SECONDS = 10.0


class LogprobModel(Protocol[RowT]):
    """The model in training, as it is just now."""

    def split(self, rows: Sequence[RowT], /) -> Iterable[Sequence[RowT]]: ...

    def logprobs(self, rows: Sequence[RowT], /) -> Tensor: ...


class RefLogprobs(Generic[RowT]):
    """Log-probabilities [rows, 2] of the starting model, the first `known` of them filled in."""

    def __init__(self, rows: Sequence[RowT]) -> None:
        self.rows = rows
        self.num_computed = 0
        self._index = {row: place for place, row in enumerate(rows)}
        self._values = torch.zeros(len(rows), 2)

    def get(self, rows: Iterable[RowT]) -> Tensor:
        """Of known rows: [rows, 2] in float32."""
        return self._values[[self._index[row] for row in rows]]

    def set(self, rows: Sequence[RowT], values: Tensor) -> None:
        """Fill in some rows; they count once `known` covers them."""
        self._values[[self._index[row] for row in rows]] = values.float().cpu()

    def to_files(self) -> dict[str, bytes]:
        """What checkpoints hold of it."""
        return {
            REF_LOGPROBS_FILE: save({LOGPROBS_TENSOR: self._values[: self.num_computed].clone()})
        }

    def load(self, folder: Path) -> None:
        """Take up what a checkpoint holds."""
        values = load_file(folder / REF_LOGPROBS_FILE)[LOGPROBS_TENSOR]
        self.num_computed = len(values)
        self._values[: self.num_computed] = values


@dataclass(frozen=True, slots=True)
class RefLogprobsPrecomputer(Generic[RowT]):
    """Fills the reference, with the model as it is before any checkpoint is taken up."""

    ref_logprobs: RefLogprobs[RowT]
    model: LogprobModel[RowT]
    folder: RunFolder
    checkpointer: Checkpointer
    stop: StopSignal
    clock: Callable[[], float] = time.monotonic

    def run(self) -> bool:
        """Compute what no checkpoint has; False if it was asked to stop before all was known."""
        newest = self.checkpointer.find_latest()
        if newest is not None:
            self.ref_logprobs.load(newest)
        began, known = self.clock(), self.ref_logprobs.num_computed
        whole = self._fill()
        took_long = self.clock() - began > MIN_SECONDS_TO_CHECKPOINT
        if self.ref_logprobs.num_computed > known and (took_long or not whole):
            self.checkpointer.write(0)
            self.folder.append_event(CheckpointWritten(step=0, servable=False))
        return whole

    @torch.no_grad()
    def _fill(self) -> bool:
        rows = self.ref_logprobs.rows
        signed = self.clock()
        for start in range(self.ref_logprobs.num_computed, len(rows), CHUNK_ROWS):
            chunk = rows[start : start + CHUNK_ROWS]
            for part in self.model.split(chunk):
                if self.stop:
                    return False
                self.ref_logprobs.set(part, self.model.logprobs(part))
                if self.clock() - signed > PROGRESS_INTERVAL_SECONDS:
                    self.folder.append_event(Preparing(done=start, total=len(rows)))
                    signed = self.clock()
            self.ref_logprobs.num_computed = start + len(chunk)
        return True
