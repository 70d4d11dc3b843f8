"""Fair scheduling over projects: who gets a slot, and what each step computes for whom.

Slots are shared max-min fairly: a free one goes to the project that holds the fewest, and a project
that holds at least two more than one that waits has a row preempted for it. A project alone uses
all of them. Preempted rows keep their keys and values, so nothing is computed twice. If there are
more projects than slots, rows take turns of `TIME_SLICE_TOKENS`.

Steps are shared by deficit round robin (Shreedhar and Varghese 1995) on what work costs, in units
of one prompt token: a project with long prompts or many rows gets as much of a step as one with a
single short row, once there are both. A project alone computes everything it has in each step.
Both are weighted by work: each of a request's choices is a row of its own.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from worker.inference.messages import Request
from worker.inference.sampling import Sampler
from worker.inference.slots import NO_SLOT, KvSlots, Prefill, Sequence, SlotTable

# Chunked prefill: tokens of a prompt computed between two decoding steps, about 0.1 s with a small
# model on two cores. Larger chunks stall the running streams; smaller ones slow the prefill.
PREFILL_CHUNK_TOKENS = 256
# Smallest chunk beside other projects: each chunk also costs a pass over the weights.
SHARED_CHUNK_TOKENS = 64
# Bounds of what one project gets of a step beside others, in the cost of prompt tokens. Less would
# leave most of a step to its fixed cost, the pass over the weights, which is that of about 25.
MIN_QUANTUM = 16
MAX_QUANTUM = 64
# Steps after the last one that several projects shared in which one is still held to MAX_QUANTUM,
# so that the next request of another does not find a long step in progress.
SHARED_STEPS = 256
# Tokens after which a row yields its slot to a project that has none.
TIME_SLICE_TOKENS = 256
# Attention makes a token cost more the more tokens precede it: a row's cost grows by that of one
# prompt token per so many, and a prompt token's doubles.
CONTEXT_PER_ROW_COST = 256
CONTEXT_PER_PROMPT_COST = 2048


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

    @property
    def num_held(self) -> int:
        return self.num_rows + (self.prefill is not None and self.prefill.slot != NO_SLOT)

    @property
    def wants_slot(self) -> bool:
        if self.preempted or (self.prefill is None and self.waiting):
            return True
        return self.prefill is not None and (
            self.prefill.slot == NO_SLOT or self.prefill.is_computed
        )

    @property
    def is_empty(self) -> bool:
        return not (self.waiting or self.prefill or self.preempted or self.num_rows)

    def demand(self) -> int:
        """Cost of computing everything that it can once."""
        return sum(_cost(item, _min_chunk(item)) for item in self.turns)


@dataclass(frozen=True, slots=True)
class Step:
    """One step: chunks of prompts, then rows, or None for all rows."""

    prefills: list[tuple[Prefill, int]]
    rows: list[Sequence] | None


class Scheduler:
    """Shares slots and steps among projects."""

    def __init__(self, kv: KvSlots, *, max_rows: int | None = None) -> None:
        """`max_rows` uses fewer slots than there are, for tests."""
        self._slots = SlotTable(kv, max_rows=max_rows)
        self._projects: dict[str, ProjectQueue] = {}
        self._shared_steps_left = 0
        self.num_waiting = 0

    @property
    def is_idle(self) -> bool:
        return not self._projects

    @property
    def running(self) -> list[Sequence]:
        return self._slots.running

    def used_slots(self) -> set[int]:
        return self._slots.used_slots()

    def num_waiting_of(self, project: str) -> int:
        """Count a project's waiting requests. Safe to call from other threads."""
        queue = self._projects.get(project)
        return 0 if queue is None else len(queue.waiting)

    def active_requests(self) -> Iterator[Request]:
        """Yield the requests that have been started, each once."""
        started = (
            item.request
            for queue in self._projects.values()
            for item in (*filter(None, [queue.prefill]), *queue.preempted, *queue.turns)
        )
        yield from dict.fromkeys(started)

    def submit(self, request: Request) -> None:
        self._projects.setdefault(request.project, ProjectQueue()).waiting.append(request)
        self.num_waiting += 1

    def admit(self) -> list[tuple[Sequence, Prefill]]:
        """Give out the free slots, those with the fewest first, and preempt rows if need be.

        Returns the choices that were started, each with its prompt.
        """
        started: list[tuple[Sequence, Prefill]] = []
        preempted: list[ProjectQueue] = []
        while any(
            self._grant(queue, started) or self._make_room(queue, preempted)
            for queue in sorted(self._projects.values(), key=lambda queue: queue.num_held)
            if queue.wants_slot and queue not in preempted
        ):
            pass
        return started

    def _grant(self, queue: ProjectQueue, started: list[tuple[Sequence, Prefill]]) -> bool:
        """Give a project the slot that it needs next, if it is free."""
        prefill = queue.prefill
        if queue.preempted:
            return self._can_resume_row() and self._resume_row(queue)
        if prefill is None or prefill.slot == NO_SLOT:
            return self._start_prefill(queue)
        is_last = prefill.num_started + 1 == prefill.request.num_choices
        if not self._slots.can_start_row(prefill, is_last=is_last):
            return False
        started.append((self._start_row(queue, prefill, is_last=is_last), prefill))
        return True

    def _can_resume_row(self) -> bool:
        """True if a preempted row can go on without taking the slot that it made room with.

        A prompt whose project has no preempted rows comes first: it starts its own as soon as it is
        computed. With few slots it would otherwise wait for the end of the row that made room.
        """
        is_expected = any(
            queue.prefill is not None and queue.prefill.slot != NO_SLOT and not queue.preempted
            for queue in self._projects.values()
        )
        return self._slots.has_free_row or (self._slots.can_resume_row and not is_expected)

    def _resume_row(self, queue: ProjectQueue) -> bool:
        sequence = queue.preempted.popleft()
        self._slots.resume_row(sequence)
        self._add_row(queue, sequence)
        return True

    def _start_prefill(self, queue: ProjectQueue) -> bool:
        request = queue.waiting[0] if queue.prefill is None else queue.prefill.request
        if not self._slots.can_start_prefill(request):
            return False
        if queue.prefill is None:
            queue.prefill = Prefill(queue.waiting.popleft())
            self.num_waiting -= 1
        self._slots.start_prefill(queue.prefill)
        if not queue.prefill.is_computed:
            queue.turns.append(queue.prefill)
        return True

    def _start_row(self, queue: ProjectQueue, prefill: Prefill, *, is_last: bool) -> Sequence:
        request, choice = prefill.request, prefill.num_started
        sampler = Sampler(request.sampling, choice, request.prompt)
        sequence = Sequence(request, choice, sampler, len(request.prompt))
        self._slots.start_row(sequence, prefill, is_last=is_last)
        prefill.num_started += 1
        if is_last:
            queue.prefill = None
        self._add_row(queue, sequence)
        return sequence

    def _add_row(self, queue: ProjectQueue, sequence: Sequence) -> None:
        queue.num_rows += 1
        queue.turns.append(sequence)

    def _make_room(self, queue: ProjectQueue, preempted: list[ProjectQueue]) -> bool:
        """Preempt the project with the most slots for one that waits, if that is fairer."""
        victim = max(self._projects.values(), key=lambda other: other.num_held)
        if victim is queue or self._slots.num_used < self._slots.num_slots:
            return False
        # What has just got its slot keeps it until it has been computed once.
        holders = [
            item for item in victim.turns if item.num_served and self._slots.can_swap_out(item)
        ]
        if victim.num_held < queue.num_held + 2:
            # With fewer slots than projects a row's turn ends, but not for one who has a slot.
            holders = [item for item in holders if item.num_served >= TIME_SLICE_TOKENS]
            if queue.num_held:
                return False
        if not holders:
            return False
        # The cheapest to copy, and a row rather than a prompt that may be nearly done.
        self._preempt(victim, min(holders, key=_preemption_order))
        preempted.append(victim)
        return True

    def _preempt(self, queue: ProjectQueue, holder: Prefill | Sequence) -> None:
        queue.turns.remove(holder)
        self._slots.preempt(holder)
        if isinstance(holder, Sequence):
            queue.num_rows -= 1
            queue.preempted.append(holder)

    def plan_step(self) -> Step:
        """Choose what the next step computes."""
        active = [queue for queue in self._projects.values() if queue.turns]
        if len(self._projects) > 1:
            self._shared_steps_left = SHARED_STEPS
        if not self._shared_steps_left:
            return _plan_exclusive(active)
        self._shared_steps_left -= 1
        return self._plan_shared(active)

    def _plan_shared(self, active: list[ProjectQueue]) -> Step:
        """Deficit round robin: rounds of one quantum for each project until one can be served.

        A quantum is the least that any needs for a whole step, so that equals hold up none of
        theirs.
        """
        demands = [queue.demand() for queue in active]
        quantum = max(MIN_QUANTUM, min([*demands, MAX_QUANTUM]))
        step = Step([], [])
        while active and not (step.prefills or step.rows):
            for queue in active:
                queue.deficit += quantum
                _serve(queue, step)
        return step

    def end_prefill(self, prefill: Prefill) -> None:
        """Take the slot of a prompt whose request ends with it."""
        queue = self._projects[prefill.request.project]
        self._drop_prefill(queue)
        self._drop_if_empty(prefill.request.project)

    def prefill_computed(self, prefill: Prefill) -> None:
        """Take a prompt out of the round: its choices can be started now."""
        self._projects[prefill.request.project].turns.remove(prefill)

    def remove(self, sequence: Sequence) -> None:
        """Remove a running sequence."""
        queue = self._projects[sequence.request.project]
        self._slots.remove(sequence)
        queue.turns.remove(sequence)
        queue.num_rows -= 1
        self._drop_if_empty(sequence.request.project)

    def clear(self) -> list[Request]:
        """Drop everything and return the requests, each once."""
        waiting = [request for queue in self._projects.values() for request in queue.waiting]
        requests = [*self.active_requests(), *waiting]
        self._projects.clear()
        self._slots.clear()
        self.num_waiting = 0
        return requests

    def abort(self, request: Request, choice: int | None = None) -> None:
        """Drop a request, or one started choice of it; no-op if it has finished."""
        queue = self._projects.get(request.project)
        if queue is None:
            return
        if choice is None:
            self._abort_pending(queue, request)
        for sequence in (*self.running, *queue.preempted):
            if sequence.request is request and choice in (None, sequence.choice):
                self._drop_sequence(queue, sequence)
        self._drop_if_empty(request.project)

    def _abort_pending(self, queue: ProjectQueue, request: Request) -> None:
        if request in queue.waiting:
            queue.waiting.remove(request)
            self.num_waiting -= 1
        if queue.prefill and queue.prefill.request is request:
            self._drop_prefill(queue)

    def _drop_prefill(self, queue: ProjectQueue) -> None:
        if queue.prefill is not None:
            self._slots.end_prefill(queue.prefill)
            if queue.prefill in queue.turns:
                queue.turns.remove(queue.prefill)
            queue.prefill = None

    def _drop_sequence(self, queue: ProjectQueue, sequence: Sequence) -> None:
        if sequence.slot == NO_SLOT:
            queue.preempted.remove(sequence)
        else:
            queue.turns.remove(sequence)
            queue.num_rows -= 1
        self._slots.remove(sequence)

    def _drop_if_empty(self, project: str) -> None:
        queue = self._projects.get(project)
        if queue is not None and queue.is_empty:
            del self._projects[project]


def _plan_exclusive(active: list[ProjectQueue]) -> Step:
    prefills = [queue.prefill for queue in active if queue.prefill in queue.turns]
    return Step([(p, _remaining(p, PREFILL_CHUNK_TOKENS)) for p in prefills if p], None)


def _serve(queue: ProjectQueue, step: Step) -> None:
    """Plan the items of a project in turn, each once, until one costs more than it may spend."""
    for _ in range(len(queue.turns)):
        item = queue.turns[0]
        tokens = _min_chunk(item)
        if _cost(item, tokens) > queue.deficit:
            return
        if isinstance(item, Prefill):
            tokens = _affordable_chunk(item, queue.deficit)
            step.prefills.append((item, tokens))
        elif step.rows is not None:
            step.rows.append(item)
        queue.deficit -= _cost(item, tokens)
        queue.turns.rotate(-1)
    # What is not needed is not saved.
    queue.deficit = 0


def _remaining(prefill: Prefill, limit: int) -> int:
    return min(limit, len(prefill.request.prompt) - prefill.num_computed)


def _min_chunk(item: Prefill | Sequence) -> int:
    return _remaining(item, SHARED_CHUNK_TOKENS) if isinstance(item, Prefill) else 1


def _affordable_chunk(prefill: Prefill, deficit: int) -> int:
    """Tokens of the next chunk: what `deficit` pays for, within the bounds of a chunk."""
    affordable = (
        deficit * CONTEXT_PER_PROMPT_COST // (CONTEXT_PER_PROMPT_COST + prefill.num_computed)
    )
    return _remaining(prefill, min(max(affordable, SHARED_CHUNK_TOKENS), PREFILL_CHUNK_TOKENS))


def _cost(item: Prefill | Sequence, tokens: int) -> int:
    """Cost of a step's work on a row, or on `tokens` of a prompt."""
    if isinstance(item, Sequence):
        return 1 + item.length // CONTEXT_PER_ROW_COST
    return tokens + tokens * item.num_computed // CONTEXT_PER_PROMPT_COST


def _preemption_order(holder: Prefill | Sequence) -> tuple[bool, int]:
    return isinstance(holder, Prefill), holder.num_cached
