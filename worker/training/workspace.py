"""Memory of a training step that is kept for the next one.

Memory that is returned to the operating system is zeroed when it is used again: for the tensors of
a step on a CPU that takes longer than what is computed on them between two products.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod

import torch
from torch import Tensor

CHUNK_BYTES = 32 * 2**20
# Of cache lines, and of the widest vectors.
ALIGNMENT = 64


class Workspace:
    """A stack of tensors without defined contents: what was allocated last is released first.

    On other devices than CPUs torch's own allocator keeps the memory.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._chunks: list[Tensor] = []
        # The chunk in use, and the bytes that are used of it.
        self._place = (0, 0)

    @property
    def num_bytes(self) -> int:
        """Bytes that are held, whether they are in use or not."""
        return sum(map(len, self._chunks))

    def empty(self, *shape: int, dtype: torch.dtype) -> Tensor:
        if self._device.type != "cpu":
            return torch.empty(shape, dtype=dtype, device=self._device)
        size = prod(shape) * dtype.itemsize
        chunk, start = self._find_room(size)
        self._place = chunk, start + size + -size % ALIGNMENT
        return self._chunks[chunk][start : start + size].view(dtype).view(shape)

    def _find_room(self, size: int) -> tuple[int, int]:
        """Find it in the chunk in use or the next one, else replace the latter by a larger one.

        A later chunk may have room, but those before it would stay empty: what is allocated next
        begins after it.
        """
        chunk, start = self._place
        for place in ((chunk, start), (chunk + 1, 0)):
            if place[0] < len(self._chunks) and place[1] + size <= len(self._chunks[place[0]]):
                return place
        new = chunk + 1 if start else chunk
        self._chunks[new : new + 1] = [torch.empty(max(size, CHUNK_BYTES), dtype=torch.uint8)]
        return new, 0

    @contextmanager
    def released_after(self) -> Iterator[None]:
        """Release what is allocated in this context."""
        place = self._place
        try:
            yield
        finally:
            self._place = place

    def release_all(self) -> None:
        self._place = (0, 0)
