"""Data parallelism: several processes, the ranks, take each optimizer step together.

Each has the whole model, knows all rows of a batch and computes its share of them. The gradients of
all ranks are added up, so that the step is that of one process, but for the order of additions and
the random numbers of dropout and NEFTune. Decisions, such as that for the best epoch, follow from
sums that are equal in all ranks; that to stop is made together. The first rank alone writes events
and checkpoints.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

RowT = TypeVar("RowT")
ResultT = TypeVar("ResultT")

# Sums that a step reports, at most. A rank without rows does not know their names.
MAX_SUMS = 8
# A rank waits for as long as another works: the supervisor decides what takes too long.
TIMEOUT = timedelta(days=30)


class Pass(IntEnum):
    """Passes that ranks with shares of one model do together; the lowest that any needs first."""

    FORWARD = 0
    BACKWARD = 1
    NONE = 2


class Ranks:
    """The processes of an attempt, as one of them sees them: this one, the `rank`-th of `count`."""

    def __init__(self, rank: int = 0, count: int = 1, *, seed: int = 0) -> None:
        """Random numbers of several ranks depend on the job's `seed`."""
        self.rank = rank
        self.count = count
        self._seed = seed
        # Takes part in a pass of other ranks, if each has a share of the model.
        self.take_part: Callable[[Pass], None] | None = None

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def join(self, store: Path) -> None:
        """Meet the others by the file `store`, and connect by the loopback interface.

        Each uses the GPU of its number, if there are any.
        """
        interface = "lo" if sys.platform == "linux" else "lo0"
        os.environ |= {"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": interface}
        backend = "gloo"
        if torch.cuda.is_available():
            torch.cuda.set_device(self.rank)
            backend = "cpu:gloo,cuda:nccl"
        distributed.init_process_group(
            backend,
            store=distributed.FileStore(str(store), self.count),  # type: ignore[attr-defined]
            rank=self.rank,
            world_size=self.count,
            timeout=TIMEOUT,
        )

    def select(
        self, rows: Sequence[RowT], num_tokens: Callable[[Sequence[RowT]], int]
    ) -> Sequence[RowT]:
        """Select this rank's share of the rows: about as many tokens as the others'.

        It may be empty for any rank but the first.
        """
        if self.count == 1:
            return rows
        longest_first = sorted(rows, key=lambda row: -num_tokens([row]))
        # There and back, so that no rank always has the longer ones.
        turns = (self.rank, 2 * self.count - 1 - self.rank)
        return [row for i, row in enumerate(longest_first) if i % (2 * self.count) in turns]

    def seed_step(self, step: int) -> None:
        """Let the ranks draw different random numbers, which depend on the step alone."""
        if self.count > 1:
            digest = hashlib.sha256(f"{self._seed}/{step}/{self.rank}".encode()).digest()
            torch.manual_seed(int.from_bytes(digest[:7]))

    def begin(self, kind: Pass) -> None:
        """Take part in the other ranks' passes until all that do any do one of this kind.

        With NONE, until no rank does any more before it meets the others.
        """
        if self.take_part is None:
            return
        while (agreed := Pass(self._reduce(kind, distributed.ReduceOp.MIN))) != kind:
            self.take_part(agreed)

    def max(self, number: int) -> int:
        """The largest number of all ranks, within a pass that they do together."""
        return number if self.count == 1 else self._reduce(number, distributed.ReduceOp.MAX)

    def finish(self) -> None:
        """Stay until no other rank needs this one's share of the model."""
        self.begin(Pass.NONE)

    def _reduce(self, number: int, operation: Any) -> int:
        values = torch.tensor(number)
        distributed.all_reduce(values, operation)
        return int(values)

    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Set the gradients to their sums over all ranks."""
        if self.count == 1:
            return
        self.begin(Pass.NONE)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        parts = flat.split([parameter.numel() for parameter in parameters])
        for parameter, gradient, part in zip(parameters, gradients, parts, strict=True):
            parameter.grad = gradient.copy_(part.view_as(gradient))

    def add(self, parts: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
        """Add up the sums of the parts of all ranks. A rank without parts gets the loss alone."""
        names = list(parts[0]) if parts else ["loss"]
        totals = torch.zeros(MAX_SUMS, dtype=torch.float64)
        if parts:
            rows = [torch.stack([part[name].double() for name in names]) for part in parts]
            totals[: len(names)] = torch.stack(rows).sum(0)
        if self.count > 1:
            self.begin(Pass.NONE)
            distributed.all_reduce(totals)
        return dict(zip(names, totals.tolist(), strict=False))

    def any(self, flag: bool) -> bool:
        """True if the flag of any rank is."""
        if self.count == 1:
            return flag
        self.begin(Pass.NONE)
        flags = torch.tensor([flag], dtype=torch.int32)
        distributed.all_reduce(flags, distributed.ReduceOp.MAX)
        return bool(flags.item())

    def merge(self, values: Tensor) -> Tensor:
        """Fill in numbers that another rank has. Those that none has are not a number."""
        if self.count == 1:
            return values
        self.begin(Pass.NONE)
        merged = values.nan_to_num(nan=-torch.inf)
        distributed.all_reduce(merged, distributed.ReduceOp.MAX)
        return merged.masked_fill(merged == -torch.inf, torch.nan)

    def wait(self) -> None:
        """Wait until all ranks are here."""
        self.any(False)

    def in_turn(self, work: Callable[[], ResultT]) -> ResultT:
        """Do `work` in the first rank, then in the others, which find the files that it wrote."""
        if not self.is_first:
            self.wait()
        result = work()
        if self.is_first:
            self.wait()
        return result


# A process that trains alone.
ALONE = Ranks()
