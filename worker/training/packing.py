"""Packing: several rows fill one sequence of a batch, without seeing each other.

The rows of a micro-batch are computed without padding in any case. Packing changes what a batch
is: `batch_size` sequences of nearly equal length, so that each step learns from as many tokens.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.recipes.packing import plan_packs
from worker.training.batching import HasNumTokens
from worker.training.objectives import LossOutput, Objective

ItemT = TypeVar("ItemT", bound=HasNumTokens)


@dataclass(frozen=True, slots=True, eq=False)
class Pack(Generic[ItemT]):
    """Rows that form one sequence."""

    rows: tuple[ItemT, ...]


def pack_rows(rows: Sequence[ItemT], max_tokens: int) -> list[Pack[ItemT]]:
    """Pack rows into sequences of at most `max_tokens`; a longer row is a sequence of its own."""
    packs = plan_packs([row.num_tokens for row in rows], max_tokens)
    return [Pack(tuple(rows[index] for index in pack)) for pack in packs]


@dataclass(frozen=True, slots=True)
class PackedObjective(Generic[ItemT]):
    """An objective of packs: that of their rows."""

    objective: Objective[ItemT]

    def split(self, rows: Sequence[Pack[ItemT]]) -> Iterable[Sequence[Pack[ItemT]]]:
        """Split into micro-batches of rows, each as one pack."""
        for part in self.objective.split(_unpack(rows)):
            yield [Pack(tuple(part))]

    def num_items(self, rows: Sequence[Pack[ItemT]]) -> int:
        return self.objective.num_items(_unpack(rows))

    def num_tokens(self, rows: Sequence[Pack[ItemT]]) -> int:
        return self.objective.num_tokens(_unpack(rows))

    def compute_loss(self, rows: Sequence[Pack[ItemT]]) -> LossOutput:
        return self.objective.compute_loss(_unpack(rows))


def _unpack(packs: Sequence[Pack[ItemT]]) -> list[ItemT]:
    return [row for pack in packs for row in pack.rows]
