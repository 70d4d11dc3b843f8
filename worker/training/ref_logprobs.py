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
from worker.training.checkpoint import Checkpoints
from worker.training.environment import Stop

RowT = TypeVar("RowT")

FILE = "reference.safetensors"
TENSOR = "log_probabilities"
# Rows that become known together, in micro-batches of similar lengths.
CHUNK = 64
# What took longer is kept even if training has not made a step yet.
WORTH_KEEPING_SECONDS = 60.0
# The supervisor takes a process that writes nothing for one that hangs.
SIGN_SECONDS = 10.0


class Model(Protocol[RowT]):
    """The model in training, as it is just now."""

    def split(self, rows: Sequence[RowT], /) -> Iterable[Sequence[RowT]]: ...

    def log_probabilities(self, rows: Sequence[RowT], /) -> Tensor: ...


class Reference(Generic[RowT]):
    """Log-probabilities [rows, 2] of the starting model, the first `known` of them filled in."""

    def __init__(self, rows: Sequence[RowT]) -> None:
        self.rows = rows
        self.known = 0
        self._places = {row: place for place, row in enumerate(rows)}
        self._values = torch.zeros(len(rows), 2)

    def of(self, rows: Iterable[RowT]) -> Tensor:
        """Of known rows: [rows, 2] in float32."""
        return self._values[[self._places[row] for row in rows]]

    def put(self, rows: Sequence[RowT], values: Tensor) -> None:
        """Fill in some rows; they count once `known` covers them."""
        self._values[[self._places[row] for row in rows]] = values.float().cpu()

    def files(self) -> dict[str, bytes]:
        """What checkpoints hold of it."""
        return {FILE: save({TENSOR: self._values[: self.known].clone()})}

    def load(self, folder: Path) -> None:
        """Take up what a checkpoint holds."""
        values = load_file(folder / FILE)[TENSOR]
        self.known = len(values)
        self._values[: self.known] = values


@dataclass(frozen=True, slots=True)
class Preparation(Generic[RowT]):
    """Fills the reference, with the model as it is before any checkpoint is taken up."""

    reference: Reference[RowT]
    model: Model[RowT]
    folder: RunFolder
    checkpoints: Checkpoints
    stop: Stop
    clock: Callable[[], float] = time.monotonic

    def run(self) -> bool:
        """Compute what no checkpoint has; False if it was asked to stop before all was known."""
        newest = self.checkpoints.newest()
        if newest is not None:
            self.reference.load(newest)
        began, known = self.clock(), self.reference.known
        whole = self._fill()
        took_long = self.clock() - began > WORTH_KEEPING_SECONDS
        if self.reference.known > known and (took_long or not whole):
            self.checkpoints.write(0)
            self.folder.append(CheckpointWritten(step=0, servable=False))
        return whole

    @torch.no_grad()
    def _fill(self) -> bool:
        rows = self.reference.rows
        signed = self.clock()
        for start in range(self.reference.known, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            for part in self.model.split(chunk):
                if self.stop:
                    return False
                self.reference.put(part, self.model.log_probabilities(part))
                if self.clock() - signed > SIGN_SECONDS:
                    self.folder.append(Preparing(done=start, total=len(rows)))
                    signed = self.clock()
            self.reference.known = start + len(chunk)
        return True
