"""Memory of the KV cache: how many tokens it may hold, and tensors whose pages are taken by use.

On a CPU each slot has room for a whole context in *virtual* memory, as in vAttention (Prabhu et al.
2024, arXiv:2405.04437): the system backs a page when it is first written, and takes it back when
the slot is erased. Tensors stay contiguous, and a short sequence occupies no more than its tokens.
What all sequences may write together is limited by `KvCapacity.num_tokens`.
"""

import mmap
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from weakref import WeakKeyDictionary

import torch

from worker.host_memory import HostMemory

# A sequence that does not fit waits for its first token until another has ended, which is longer
# than each of more concurrent sequences waits for its next one.
MAX_NUM_SEQS = 64
# Share of the memory that is free once the model is loaded. The rest is left to other models,
# adapters, training, and the texts of requests.
KV_CACHE_MEMORY_FRACTION = 0.25
# Share of these tokens that is kept for prompts that begin alike.
PREFIX_CACHE_FRACTION = 0.25
# Linux's value, which Python's mmap does not name before 3.14. Without it a reservation larger than
# memory is refused.
MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)


# What the caches of this process may take, which most of them have not yet.
_promised_bytes: WeakKeyDictionary[object, int] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class KvCapacity:
    """Slots for sequences, and the tokens that sequences and cached prefixes may hold at most."""

    num_slots: int
    num_tokens: int
    num_prefix_tokens: int


def promise(owner: object, num_bytes: int) -> None:
    """Count memory as taken as long as its owner lives, so that the next model leaves it free."""
    _promised_bytes[owner] = num_bytes


def compute_capacity(
    *, bytes_per_token: int, context_length: int, device: torch.device
) -> KvCapacity:
    """Compute what fits into the memory that is free now; at least one slot of a whole context."""
    promised = sum(_promised_bytes.values())
    host_memory = max((HostMemory().available_bytes() or 2**30) - promised, 0)
    host_tokens = int(host_memory * KV_CACHE_MEMORY_FRACTION) // bytes_per_token
    # Blocks of prefixes are in the host's memory whatever the device.
    num_prefix_tokens = int(host_tokens * PREFIX_CACHE_FRACTION)
    # A small model takes no more than all of its slots can hold, and leaves the rest to others.
    most = (MAX_NUM_SEQS + 1) * context_length
    if device.type != "cpu":
        return _device_capacity(
            bytes_per_token, context_length, device, min(num_prefix_tokens, most)
        )
    num_tokens = max(host_tokens - num_prefix_tokens, context_length)
    return KvCapacity(MAX_NUM_SEQS, min(num_tokens, most), min(num_prefix_tokens, most))


def _device_capacity(
    bytes_per_token: int, context_length: int, device: torch.device, num_prefix_tokens: int
) -> KvCapacity:
    """Compute the slots of a device, where every slot takes its memory at once."""
    free_memory = torch.cuda.mem_get_info(device)[0]
    num_tokens = int(free_memory * KV_CACHE_MEMORY_FRACTION) // bytes_per_token
    # One more is needed for prompts.
    num_slots = max(1, min(MAX_NUM_SEQS, num_tokens // context_length - 1))
    return KvCapacity(num_slots, num_slots * context_length, num_prefix_tokens)


class SlottedTensor:
    """Zeros [slots, …] on `device`. On a CPU they take no memory until they are written.

    They must be zeros: attention multiplies masked positions by 0, and 0 · NaN is NaN.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
        self._mapping: mmap.mmap | None = None
        if device.type != "cpu":
            self.tensor = torch.zeros(shape, dtype=dtype, device=device)
            return
        num_slots, *sizes = shape
        used = prod(sizes) * dtype.itemsize
        # Whole pages for each slot, so that one can be given back without its neighbours.
        self._slot_bytes = -(-used // mmap.PAGESIZE) * mmap.PAGESIZE
        self._mapping = _map(num_slots * self._slot_bytes)
        rows = torch.frombuffer(self._mapping, dtype=torch.uint8).view(num_slots, self._slot_bytes)
        self.tensor = rows.view(dtype)[:, : prod(sizes)].unflatten(1, sizes)

    def erase(self, slot: int) -> None:
        """Overwrite a slot with zeros; on a CPU by giving its pages back."""
        if self._mapping is None:
            self.tensor[slot] = 0
        else:
            start = slot * self._slot_bytes
            self._mapping.madvise(mmap.MADV_DONTNEED, start, self._slot_bytes)


def _map(num_bytes: int) -> mmap.mmap:
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
    mapping = mmap.mmap(-1, num_bytes, flags=flags)
    # A huge page would back 2 MiB with the first token of a slot. Kernels without them refuse.
    with suppress(OSError):
        mapping.madvise(mmap.MADV_NOHUGEPAGE)
    return mapping
