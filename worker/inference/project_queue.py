"""The requests of one project, or of its batches, in the engine."""

from collections import deque
from dataclasses import dataclass, field

from worker.inference.messages import Request
from worker.inference.slots import NO_SLOT, Prefill, Sequence

# Chunked prefill: tokens of prompts computed between two decoding steps, about 0.1 s with a small
# model on two cores. More would stall the running streams; fewer would slow the prefill. Whole
# blocks of the prefix cache.
PREFILL_CHUNK_TOKENS = 256
# Rounds of admission without any slot, two per step, after which a batch gets one as others do.
MAX_SKIPPED_ROUNDS = 512


@dataclass(slots=True, eq=False)
class ProjectQueue:
    """The requests of one project: waiting in order, being prefilled, and rows.

    As many prompts are prefilled at once as a step has tokens for. `turns` holds what can be
    computed, next first. `deficit` is the cost it may still spend.
    """

    waiting: deque[Request] = field(default_factory=deque)
    # In the order in which they began.
    prefills: list[Prefill] = field(default_factory=list)
    preempted: deque[Sequence] = field(default_factory=deque)
    turns: deque[Prefill | Sequence] = field(default_factory=deque)
    num_rows: int = 0
    deficit: int = 0
    # The last step that computed any of its prompts.
    prompt_step: int = 0
    is_of_batches: bool = False
    # Rounds of admission since it last held a slot, if it wants one.
    num_skipped: int = 0

    @property
    def num_held(self) -> int:
        return self.num_rows + sum(prefill.slot != NO_SLOT for prefill in self.prefills)

    @property
    def waiting_prefill(self) -> Prefill | None:
        """The first prompt that needs a slot, or rows for its choices."""
        needing = (p for p in self.prefills if p.slot == NO_SLOT or p.is_computed)
        return next(needing, None)

    @property
    def wants_slot(self) -> bool:
        return bool(self.preempted or self.waiting_prefill or self._can_begin_prompt)

    @property
    def _can_begin_prompt(self) -> bool:
        """True if the prompts that have begun leave some of a step to the next one.

        One with several choices holds a slot until the last of them starts; none begins after it.
        """
        if any(prefill.request.num_choices > 1 for prefill in self.prefills):
            return False
        remaining = sum(prefill.num_remaining for prefill in self.prefills)
        return bool(self.waiting) and remaining < PREFILL_CHUNK_TOKENS

    @property
    def waits_for_row(self) -> bool:
        """True if the request that needs a slot next has not begun, and needs a row."""
        has_begun = self.preempted or self.waiting_prefill
        return not has_begun and not self.waiting[0].pooling

    @property
    def has_computed_prompt(self) -> bool:
        """True if choices of a prompt that holds a slot are still to be started."""
        prefill = self.waiting_prefill
        return prefill is not None and prefill.slot != NO_SLOT

    @property
    def next_request(self) -> Request:
        """The request that needs a slot next, if `wants_slot`."""
        if self.preempted:
            return self.preempted[0].request
        prefill = self.waiting_prefill
        return prefill.request if prefill else self.waiting[0]

    @property
    def has_waited_long(self) -> bool:
        return self.num_skipped >= MAX_SKIPPED_ROUNDS

    @property
    def is_deferred(self) -> bool:
        """True if it gets only what others leave: a batch, unless it has waited long for a slot."""
        return self.is_of_batches and (self.num_held > 0 or not self.has_waited_long)

    @property
    def is_empty(self) -> bool:
        return not (self.waiting or self.prefills or self.preempted or self.num_rows)
