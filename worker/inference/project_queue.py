"""The requests of one project, or of its batches, in the engine."""

from collections import deque
from dataclasses import dataclass, field

from worker.inference.messages import Request
from worker.inference.slots import NO_SLOT, Prefill, Sequence

# Rounds of admission without any slot, two per step, after which a batch gets one as others do.
MAX_SKIPPED_ROUNDS = 512


@dataclass(slots=True, eq=False)
class ProjectQueue:
    """The requests of one project: waiting in order, at most one being prefilled, and rows.

    `turns` holds what can be computed, next first. `deficit` is the cost it may still spend.
    """

    waiting: deque[Request] = field(default_factory=deque)
    prefill: Prefill | None = None
    preempted: deque[Sequence] = field(default_factory=deque)
    turns: deque[Prefill | Sequence] = field(default_factory=deque)
    num_rows: int = 0
    deficit: int = 0
    is_of_batches: bool = False
    # Rounds of admission since it last held a slot, if it wants one.
    num_skipped: int = 0

    @property
    def num_held(self) -> int:
        return self.num_rows + (self.prefill is not None and self.prefill.slot != NO_SLOT)

    @property
    def wants_slot(self) -> bool:
        if self.preempted or (self.prefill is None and self.waiting):
            return True
        prefill = self.prefill
        return prefill is not None and (prefill.slot == NO_SLOT or prefill.is_computed)

    @property
    def waits_for_row(self) -> bool:
        """True if the request that needs a slot next has not begun, and needs a row."""
        return not self.preempted and self.prefill is None and not self.waiting[0].pooling

    @property
    def has_computed_prompt(self) -> bool:
        """True if choices of a prompt that holds a slot are still to be started."""
        prefill = self.prefill
        return prefill is not None and prefill.slot != NO_SLOT and prefill.is_computed

    @property
    def next_request(self) -> Request:
        """The request that needs a slot next, if `wants_slot`."""
        if self.preempted:
            return self.preempted[0].request
        return self.waiting[0] if self.prefill is None else self.prefill.request

    @property
    def has_waited_long(self) -> bool:
        return self.num_skipped >= MAX_SKIPPED_ROUNDS

    @property
    def is_deferred(self) -> bool:
        """True if it gets only what others leave: a batch, unless it has waited long for a slot."""
        return self.is_of_batches and (self.num_held > 0 or not self.has_waited_long)

    @property
    def is_empty(self) -> bool:
        return not (self.waiting or self.prefill or self.preempted or self.num_rows)
