"""Packing: several rows fill one sequence of a batch, without seeing each other.

The rows of a micro-batch are computed without padding in any case. Packing changes what a batch
is: `batch_size` sequences of nearly equal length, so that each step learns from as many tokens.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from worker.training.batching import HasNumTokens
from worker.training.objectives import LossOutput, Objective

ItemT = TypeVar("ItemT", bound=HasNumTokens)


@dataclass(frozen=True, slots=True, eq=False)
class Pack(Generic[ItemT]):
    """Rows that form one sequence."""

    rows: tuple[ItemT, ...]


def pack_rows(rows: Sequence[ItemT], max_tokens: int) -> list[Pack[ItemT]]:
    """Pack rows into sequences of at most `max_tokens`: best fit, longest rows first.

    A longer row is a sequence of its own. Takes n·log(n) steps for n rows.
    """
    packs: list[list[ItemT]] = []
    # Packs with room, by their free tokens; the keys of the dict are sorted in `sizes`.
    open_packs: dict[int, list[int]] = {}
    sizes: list[int] = []
    for row in sorted(rows, key=lambda row: -row.num_tokens):
        place = bisect_left(sizes, row.num_tokens)
        if place == len(sizes):
            packs.append([row])
            _add_open(open_packs, sizes, max_tokens - row.num_tokens, len(packs) - 1)
            continue
        free = sizes[place]
        pack = open_packs[free].pop()
        if not open_packs[free]:
            del open_packs[free], sizes[place]
        packs[pack].append(row)
        _add_open(open_packs, sizes, free - row.num_tokens, pack)
    return [Pack(tuple(pack)) for pack in packs]


def _add_open(open_packs: dict[int, list[int]], sizes: list[int], free: int, pack: int) -> None:
    if free <= 0:
        return
    if free not in open_packs:
        open_packs[free] = []
        insort(sizes, free)
    open_packs[free].append(pack)


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
