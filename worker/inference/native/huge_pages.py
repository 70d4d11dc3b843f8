"""Memory for what each step reads from beginning to end, in huge pages where there are any.

A step with few rows takes as long as reading all weights once. In pages of 4 KiB the translation of
addresses costs up to half of the memory's bandwidth.
"""

import mmap
from contextlib import suppress

import torch
from torch import Tensor

HUGE_PAGE_BYTES = 2 * 2**20
CHUNK_BYTES = 32 * HUGE_PAGE_BYTES
CACHE_LINE_BYTES = 64


class HugePages:
    """Allocates tensors one after the other. They are freed together, with the last of them."""

    def __init__(self) -> None:
        self._free = torch.empty(0, dtype=torch.uint8)

    def copy(self, tensor: Tensor) -> Tensor:
        """Copy a tensor, or a permuted view of one, into a contiguous tensor."""
        num_bytes = -(-tensor.nbytes // CACHE_LINE_BYTES) * CACHE_LINE_BYTES
        if num_bytes > len(self._free):
            self._free = _map(max(num_bytes, CHUNK_BYTES))
        taken, self._free = self._free[: tensor.nbytes], self._free[num_bytes:]
        copied = taken.view(tensor.dtype).view(tensor.shape)
        return copied.copy_(tensor)


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
