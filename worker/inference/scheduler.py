"""Fair scheduling over projects: who gets a slot.

Slots are shared max-min fairly: a free one goes to the project that holds the fewest, and a project
that holds at least two more than one that waits has a row preempted for it. A project alone uses
all of them. Preempted rows keep their keys and values, so nothing is computed twice. If there are
more projects than slots, rows take turns of `TIME_SLICE_TOKENS`.

Steps are shared by what work costs (`step_planning.py`). Both are weighted by work: each of a
request's choices is a row of its own.

Batches come after live requests: they get the slots that these leave, and lose them when they are
needed. One that has waited long gets a single slot for a turn, so that it does not starve.

Memory is given out in the same order: what a row may still write has to fit. A project whose next
row does not fit is waited for, since others that need less would take its place for ever.
"""

from collections.abc import Iterator

from worker.inference import shares
from worker.inference.messages import Request
from worker.inference.project_queue import ProjectQueue
from worker.inference.sampling import Sampler
from worker.inference.slots import NO_SLOT, KvSlots, Prefill, Sequence, SlotTable, max_tokens
from worker.inference.step_planning import Step, StepPlanner

# Tokens after which a row yields its slot to a project that has none.
TIME_SLICE_TOKENS = 256


class Scheduler:
    """Shares slots and steps among projects."""

    def __init__(self, kv: KvSlots, *, max_rows: int | None = None) -> None:
        """`max_rows` uses fewer slots than there are, for tests."""
        self._slots = SlotTable(kv, max_rows=max_rows)
        self._projects: dict[str, ProjectQueue] = {}
        self._planner = StepPlanner()
        self.num_waiting = 0

    @property
    def is_idle(self) -> bool:
        return not self._projects

    @property
    def running(self) -> list[Sequence]:
        return self._slots.running

    @property
    def num_cached_tokens(self) -> int:
        return self._slots.num_cached_tokens

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
            for item in (*queue.prefills, *queue.preempted, *queue.turns)
        )
        yield from dict.fromkeys(started)

    def submit(self, request: Request) -> None:
        if request.project not in self._projects:
            is_of_batches = shares.is_of_batches(request.project)
            self._projects[request.project] = ProjectQueue(is_of_batches=is_of_batches)
        self._projects[request.project].waiting.append(request)
        self.num_waiting += 1

    def admit(self) -> list[tuple[Sequence, Prefill]]:
        """Give out the free slots, those with the fewest first, and preempt rows if need be.

        Returns the choices that were started, each with its prompt.
        """
        started: list[tuple[Sequence, Prefill]] = []
        preempted: list[ProjectQueue] = []
        while self._admit_one(started, preempted):
            pass
        for queue in self._projects.values():
            queue.num_skipped += queue.is_of_batches and queue.wants_slot and not queue.num_held
        return started

    def _admit_one(
        self, started: list[tuple[Sequence, Prefill]], preempted: list[ProjectQueue]
    ) -> bool:
        is_memory_awaited = False
        # Without a free row, requests that have not begun fare alike if their projects hold equally
        # many slots. Trying each would take long where hundreds of projects wait.
        refused: set[int] = set()
        for queue in sorted(self._projects.values(), key=_admission_order):
            if not queue.wants_slot or queue in preempted:
                continue
            is_alike = queue.waits_for_row and not self._slots.has_free_row
            if is_alike and queue.num_held in refused:
                continue
            if is_alike:
                refused.add(queue.num_held)
            if is_memory_awaited:
                # Others would take the memory that one with fewer slots waits for. The choices of a
                # computed prompt start, so that they end and give back what it holds.
                if queue.has_computed_prompt and self._start_choice(queue, started):
                    return True
            elif self._grant(queue, started) or self._make_room(queue, preempted):
                return True
            else:
                is_memory_awaited = self._lacks_memory(queue)
        return False

    def _lacks_memory(self, queue: ProjectQueue) -> bool:
        return self._slots.has_free_row and not self._slots.has_memory(queue.next_request)

    def _grant(self, queue: ProjectQueue, started: list[tuple[Sequence, Prefill]]) -> bool:
        """Give a project the slot that it needs next, if it is free."""
        if queue.preempted:
            return self._can_resume_row(queue.preempted[0]) and self._resume_row(queue)
        if queue.has_computed_prompt:
            return self._start_choice(queue, started)
        return self._start_prefill(queue)

    def _start_choice(self, queue: ProjectQueue, started: list[tuple[Sequence, Prefill]]) -> bool:
        """Start the next choice of a computed prompt, if there is room for it."""
        prefill = queue.waiting_prefill
        assert prefill is not None
        is_last = prefill.num_started + 1 == prefill.request.num_choices
        if not self._slots.can_start_row(prefill, is_last=is_last):
            return False
        started.append((self._start_row(queue, prefill, is_last=is_last), prefill))
        return True

    def _can_resume_row(self, sequence: Sequence) -> bool:
        """True if a preempted row can go on without taking the slot that it made room with.

        A prompt whose project has no preempted rows comes first: it starts its own as soon as it is
        computed. With few slots it would otherwise wait for the end of the row that made room.
        """
        is_expected = any(
            any(prefill.slot != NO_SLOT for prefill in queue.prefills) and not queue.preempted
            for queue in self._projects.values()
        )
        can_resume = self._slots.can_resume_row(sequence.request)
        return can_resume and (self._slots.has_free_row or not is_expected)

    def _resume_row(self, queue: ProjectQueue) -> bool:
        sequence = queue.preempted.popleft()
        self._slots.resume_row(sequence)
        self._add_row(queue, sequence)
        return True

    def _start_prefill(self, queue: ProjectQueue) -> bool:
        if not self._slots.can_start_prefill(queue.next_request):
            return False
        prefill = queue.waiting_prefill
        if prefill is None:
            prefill = Prefill(queue.waiting.popleft())
            queue.prefills.append(prefill)
            self.num_waiting -= 1
        self._slots.start_prefill(prefill)
        # Of those that hold equally many slots the one that was served longest ago is first.
        project = prefill.request.project
        self._projects[project] = self._projects.pop(project)
        if not prefill.is_computed:
            queue.turns.append(prefill)
        return True

    def _start_row(self, queue: ProjectQueue, prefill: Prefill, *, is_last: bool) -> Sequence:
        request, choice = prefill.request, prefill.num_started
        sampler = Sampler(request.sampling, choice, request.prompt)
        sequence = Sequence(request, choice, sampler, len(request.prompt))
        self._slots.start_row(sequence, prefill, is_last=is_last)
        prefill.num_started += 1
        if is_last:
            queue.prefills.remove(prefill)
        self._add_row(queue, sequence)
        return sequence

    def _add_row(self, queue: ProjectQueue, sequence: Sequence) -> None:
        queue.num_rows += 1
        queue.turns.append(sequence)

    def _make_room(self, queue: ProjectQueue, preempted: list[ProjectQueue]) -> bool:
        """Preempt a batch, or the project with the most slots, for one that waits, if fairer."""
        if self._slots.has_free_row and not self._lacks_memory(queue):
            return False
        if not queue.is_deferred and self._preempt_batch(queue, preempted):
            return True
        others = [o for o in self._projects.values() if o.is_deferred or not queue.is_deferred]
        victim = max(others, key=lambda other: other.num_held)
        if victim is queue:
            return False
        holders = self._find_holders(victim)
        if victim.num_held < queue.num_held + 2:
            # With fewer slots than projects a row's turn ends, but not for one who has a slot.
            holders = [item for item in holders if item.num_served >= TIME_SLICE_TOKENS]
            if queue.num_held:
                return False
        if not holders or not self._frees_enough(queue, victim, holders):
            return False
        # The cheapest to copy, and a row rather than a prompt that may be nearly done.
        self._preempt(victim, min(holders, key=_preemption_order))
        preempted.append(victim)
        return True

    def _preempt_batch(self, queue: ProjectQueue, preempted: list[ProjectQueue]) -> bool:
        """Preempt the batches with the most slots for a project that waits."""
        batches = [other for other in self._projects.values() if other.is_of_batches]
        for victim in sorted(batches, key=lambda other: -other.num_held):
            holders = self._find_holders(victim)
            if victim.has_waited_long and victim.num_held == 1:
                # Its turn, after a long wait.
                holders = [item for item in holders if item.num_served >= TIME_SLICE_TOKENS]
            if victim is not queue and holders:
                self._preempt(victim, min(holders, key=_preemption_order))
                preempted.append(victim)
                return True
        return False

    def _find_holders(self, victim: ProjectQueue) -> list[Prefill | Sequence]:
        """Find what can lose its slot; what has just got it keeps it until it is computed once."""
        return [item for item in victim.turns if item.num_served and self._slots.can_swap_out(item)]

    def _frees_enough(
        self, queue: ProjectQueue, victim: ProjectQueue, holders: list[Prefill | Sequence]
    ) -> bool:
        """Check that a project's fair share of another's rows has the memory that it lacks.

        Rows preempted for less would wait without anybody being served.
        """
        if not self._lacks_memory(queue):
            return True
        share = max(1, victim.num_held - queue.num_held - 1)
        freed = sorted((max_tokens(holder.request) for holder in holders), reverse=True)[:share]
        return sum(freed) >= self._slots.missing_memory(queue.next_request)

    def _preempt(self, queue: ProjectQueue, holder: Prefill | Sequence) -> None:
        queue.turns.remove(holder)
        queue.num_skipped = 0
        self._slots.preempt(holder)
        if isinstance(holder, Sequence):
            queue.num_rows -= 1
            queue.preempted.append(holder)

    def plan_step(self) -> Step:
        """Choose what the next step computes."""
        return self._planner.plan(self._projects.values())

    def end_prefill(self, prefill: Prefill) -> None:
        """Take the slot of a prompt whose request ends with it."""
        queue = self._projects[prefill.request.project]
        self._drop_prefill(queue, prefill)
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
        queue.num_skipped = 0
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
        for prefill in [each for each in queue.prefills if each.request is request]:
            self._drop_prefill(queue, prefill)

    def _drop_prefill(self, queue: ProjectQueue, prefill: Prefill) -> None:
        self._slots.end_prefill(prefill)
        queue.prefills.remove(prefill)
        if prefill in queue.turns:
            queue.turns.remove(prefill)

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


def _admission_order(queue: ProjectQueue) -> tuple[bool, int]:
    return queue.is_deferred, queue.num_held


def _preemption_order(holder: Prefill | Sequence) -> tuple[bool, int]:
    return isinstance(holder, Prefill), holder.num_cached
