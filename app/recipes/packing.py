"""Packing: which rows fill one sequence of a batch together, for training and for estimates."""

from bisect import bisect_left, insort
from collections.abc import Sequence


def plan_packs(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Pack rows into sequences of at most `max_tokens`: best fit, longest rows first.

    Returns the indices of each sequence's rows. A longer row is a sequence of its own. Takes
    n·log(n) steps for n rows.
    """
    packs: list[list[int]] = []
    # Packs with room, by their free tokens; the keys of the dict are sorted in `sizes`.
    open_packs: dict[int, list[int]] = {}
    sizes: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        length = lengths[index]
        place = bisect_left(sizes, length)
        if place == len(sizes):
            packs.append([index])
            _add_open(open_packs, sizes, max_tokens - length, len(packs) - 1)
            continue
        free = sizes[place]
        pack = open_packs[free].pop()
        if not open_packs[free]:
            del open_packs[free], sizes[place]
        packs[pack].append(index)
        _add_open(open_packs, sizes, free - length, pack)
    return packs


def _add_open(open_packs: dict[int, list[int]], sizes: list[int], free: int, pack: int) -> None:
    if free <= 0:
        return
    if free not in open_packs:
        open_packs[free] = []
        insort(sizes, free)
    open_packs[free].append(pack)
