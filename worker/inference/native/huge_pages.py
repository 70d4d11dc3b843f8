"""Memory for what each step reads from beginning to end, in huge pages where there are any.

A step with few rows takes as long as reading all weights once. In pages of 4 KiB the translation of
addresses costs up to half of the memory's bandwidth.
"""

import mmap
from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor

HUGE_PAGE_BYTES = 2 * 2**20
CHUNK_BYTES = 32 * HUGE_PAGE_BYTES
CACHE_LINE_BYTES = 64


class HugePages:
    """Allocates tensors one after the other. They are freed together, with the last of them."""

    def __init__(self, chunk_bytes: int = CHUNK_BYTES) -> None:
        """`chunk_bytes` are reserved at a time."""
        self._chunk_bytes = chunk_bytes
        self._free = torch.empty(0, dtype=torch.uint8)

    def copy(self, tensor: Tensor) -> Tensor:
        """Copy a tensor, or a permuted view of one, into a contiguous tensor."""
        num_bytes = _round_up(tensor)
        if num_bytes > len(self._free):
            self._free = _map(max(num_bytes, self._chunk_bytes))
        taken, self._free = self._free[: tensor.nbytes], self._free[num_bytes:]
        copied = taken.view(tensor.dtype).view(tensor.shape)
        return copied.copy_(tensor)


def copy_together(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copy tensors that are freed together."""
    memory = HugePages(sum(map(_round_up, tensors)))
    return [memory.copy(tensor) for tensor in tensors]


def _round_up(tensor: Tensor) -> int:
    return -(-tensor.nbytes // CACHE_LINE_BYTES) * CACHE_LINE_BYTES


def _map(num_bytes: int) -> Tensor:
    """Reserve memory, of which pages are taken when they are first written."""
    mapping = mmap.mmap(
        -1, num_bytes + HUGE_PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    )
    # Not all systems have them.
    if advice := getattr(mmap, "MADV_HUGEPAGE", None):
        with suppress(OSError):
            mapping.madvise(advice)
    memory = torch.frombuffer(mapping, dtype=torch.uint8)
    start = -memory.data_ptr() % HUGE_PAGE_BYTES
    return memory[start : start + num_bytes]
