"""The slots of the KV cache: rows being decoded from slot 0 on without gaps, prompts at the end.

One slot more than rows can use lets a prompt that stands in a row's way move.

A request starts if all that it may still write fits into memory with what others may write, so that
memory never runs out in the middle of an answer. Rows may exceed it by one, and by a pooled prompt.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from worker.inference.messages import Request
from worker.inference.prefix_cache import PrefixKeys
from worker.inference.sampling import Sampler
from worker.inference.speculation import PromptLookup

# The slot of a prompt or a row that has none at present.
NO_SLOT = -1


@dataclass(slots=True, eq=False)
class Prefill:
    """A prompt being prefilled: `num_computed` of its tokens are done.

    Once they all are, `logits` [1, vocabulary] are those of its last token, and it keeps its slot
    until each of its choices has one. `hidden_sum` is the sum [hidden size] of the prompt's hidden
    states, for pooling.
    """

    request: Request
    num_computed: int = 0
    hidden_sum: Tensor | None = None
    logits: Tensor | None = None
    num_started: int = 0
    slot: int = NO_SLOT
    swapped_kv: object | None = None
    # Tokens computed since it got its slot.
    num_served: int = 0
    prefix_keys: PrefixKeys | None = None

    @property
    def num_cached(self) -> int:
        return self.num_computed

    @property
    def num_remaining(self) -> int:
        return len(self.request.prompt) - self.num_computed

    @property
    def is_computed(self) -> bool:
        return not self.num_remaining


@dataclass(slots=True, eq=False)
class Sequence:
    """A choice being generated. Its slot holds `length` tokens, `last_token` not included."""

    request: Request
    choice: int
    sampler: Sampler
    length: int
    last_token: int = -1
    # By the monotonic clock.
    last_token_at: float = 0.0
    num_generated: int = 0
    slot: int = NO_SLOT
    swapped_kv: object | None = None
    # Tokens generated since it got its slot.
    num_served: int = 0
    lookup: PromptLookup | None = None

    @property
    def num_cached(self) -> int:
        return self.length


class KvSlots(Protocol):
    """The part of a decoder that copies keys and values."""

    num_slots: int
    # What all slots may hold together.
    num_tokens: int

    def copy_slot(self, source: int, target: int, length: int) -> None: ...
    def move_slot(self, source: int, target: int, length: int) -> None: ...
    def release_slot(self, slot: int) -> None: ...
    def swap_out(self, slot: int, length: int) -> object: ...
    def swap_in(self, slot: int, swapped_kv: object) -> None: ...


class SlotTable:
    """Assigns slots to prompts and rows. The row in slot i is `running[i]`."""

    def __init__(self, kv: KvSlots, *, max_rows: int | None = None) -> None:
        self._kv = kv
        self.num_slots = max_rows or kv.num_slots
        self.running: list[Sequence] = []
        self._prefills: dict[int, Prefill] = {}
        self._swapped_tokens = 0
        # Preempted keys and values are kept, so that nothing is computed twice and no output
        # changes. At most half as many as the cache holds, or those of one row.
        self._max_swapped_tokens = kv.num_tokens // 2

    @property
    def num_used(self) -> int:
        return len(self.running) + len(self._prefills)

    @property
    def num_cached_tokens(self) -> int:
        """Count the tokens that all slots hold."""
        rows = sum(row.num_cached for row in self.running)
        return rows + sum(prefill.num_cached for prefill in self._prefills.values())

    @property
    def has_free_row(self) -> bool:
        """True if a further row leaves the spare slot free."""
        return self.num_used < self.num_slots

    def missing_memory(self, request: Request) -> int:
        """Compute how many tokens of memory a further row of a request lacks.

        0 if it is alone: it may always start.
        """
        requests = [row.request for row in self.running]
        requests += [prefill.request for prefill in self._prefills.values()]
        reserved = sum(map(max_tokens, requests))
        missing = reserved + max_tokens(request) - self._kv.num_tokens
        return max(missing, 0) if requests else 0

    def has_memory(self, request: Request) -> bool:
        return not self.missing_memory(request)

    def can_start_prefill(self, request: Request) -> bool:
        """True if there is room for the prompt and, unless it is pooled, later for a choice."""
        if request.pooling and not self._prefills:
            return True
        return self.has_free_row and self.has_memory(request)

    def can_start_row(self, prefill: Prefill, *, is_last: bool) -> bool:
        """True if a choice can get a row. The last one takes over the slot of its prompt."""
        if not is_last:
            return self.can_resume_row(prefill.request)
        target = len(self.running)
        has_target = self.num_used <= self.num_slots or prefill.slot == target
        return target < self.num_slots and has_target

    def can_resume_row(self, request: Request) -> bool:
        """True if there is room for a row that gives none back.

        Without running rows it may take the spare slot, and more memory than it should: prompts
        that wait to start several choices would otherwise wait for each other.
        """
        return not self.running or (self.has_free_row and self.has_memory(request))

    def can_swap_out(self, holder: Prefill | Sequence) -> bool:
        swapped = self._swapped_tokens + holder.num_cached
        return not self._swapped_tokens or swapped <= self._max_swapped_tokens

    def start_prefill(self, prefill: Prefill) -> None:
        """Give a prompt a slot, with the keys and values it was preempted with."""
        self._place_prefill(prefill, self._free_slot())
        prefill.num_served = 0
        self._swap_in(prefill)

    def end_prefill(self, prefill: Prefill) -> None:
        """Take back the slot of a prompt, if it has one, or its swapped keys and values."""
        if prefill.slot != NO_SLOT:
            self._kv.release_slot(prefill.slot)
        self._leave_slot(prefill)

    def _leave_slot(self, prefill: Prefill) -> None:
        self._prefills.pop(prefill.slot, None)
        prefill.slot = NO_SLOT
        self._forget_swapped(prefill)

    def start_row(self, sequence: Sequence, prefill: Prefill, *, is_last: bool) -> None:
        """Give a choice of a computed prompt a row; with the last one the prompt's slot is free."""
        target = len(self.running)
        if prefill.slot == target and not is_last:
            free = self._free_slot()
            self._kv.copy_slot(target, free, prefill.num_computed)
            self._place_prefill(prefill, free)
        else:
            self._vacate(target, unless=prefill)
            if prefill.slot != target:
                self._kv.copy_slot(prefill.slot, target, prefill.num_computed)
        if is_last and prefill.slot == target:
            self._leave_slot(prefill)
        elif is_last:
            self.end_prefill(prefill)
        self._append(sequence)

    def resume_row(self, sequence: Sequence) -> None:
        """Give a preempted sequence a row again."""
        self._vacate(len(self.running))
        self._append(sequence)
        self._swap_in(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Remove a sequence; the last row moves into its slot, so that no gap remains."""
        self._forget_swapped(sequence)
        slot, sequence.slot = sequence.slot, NO_SLOT
        if slot == NO_SLOT:
            return
        last = self.running.pop()
        if last is sequence:
            self._kv.release_slot(slot)
            return
        self.running[slot] = last
        # What is longer than the row that moves would stay.
        self._kv.release_slot(slot)
        self._kv.move_slot(last.slot, slot, last.length)
        last.slot = slot

    def preempt(self, holder: Prefill | Sequence) -> None:
        """Take a slot away; its keys and values are kept until it gets another one."""
        swapped = self._kv.swap_out(holder.slot, holder.num_cached)
        if isinstance(holder, Prefill):
            self.end_prefill(holder)
        else:
            self.remove(holder)
        holder.swapped_kv = swapped
        self._swapped_tokens += holder.num_cached

    def used_slots(self) -> set[int]:
        return {*range(len(self.running)), *self._prefills}

    def clear(self) -> None:
        """Forget everything without touching tensors."""
        self.running.clear()
        self._prefills.clear()
        self._swapped_tokens = 0

    def _append(self, sequence: Sequence) -> None:
        sequence.slot, sequence.num_served = len(self.running), 0
        self.running.append(sequence)

    def _swap_in(self, holder: Prefill | Sequence) -> None:
        if holder.swapped_kv is not None:
            self._kv.swap_in(holder.slot, holder.swapped_kv)
            self._forget_swapped(holder)

    def _forget_swapped(self, holder: Prefill | Sequence) -> None:
        if holder.swapped_kv is not None:
            holder.swapped_kv = None
            self._swapped_tokens -= holder.num_cached

    def _vacate(self, slot: int, *, unless: Prefill | None = None) -> None:
        """Move a prompt out of a slot that a row needs."""
        prefill = self._prefills.get(slot)
        if prefill is not None and prefill is not unless:
            free = self._free_slot()
            if prefill.num_computed:
                self._kv.move_slot(slot, free, prefill.num_computed)
            self._place_prefill(prefill, free)

    def _place_prefill(self, prefill: Prefill, slot: int) -> None:
        self._prefills.pop(prefill.slot, None)
        self._prefills[slot] = prefill
        prefill.slot = slot

    def _free_slot(self) -> int:
        """Return the last free slot, which rows need last."""
        slots = range(self.num_slots, len(self.running) - 1, -1)
        return next(slot for slot in slots if slot not in self._prefills)


def max_tokens(request: Request) -> int:
    """Tokens that a choice may hold at its end."""
    return len(request.prompt) + request.max_new_tokens
