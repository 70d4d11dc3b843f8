"""Planning of steps: how much is computed for whom.

Steps are shared by deficit round robin (Shreedhar and Varghese 1995) on what work costs, in units
of one prompt token: a project with long prompts or many rows gets as much of a step as one with a
single short row, once there are both. A project alone computes everything it has in each step.

Beside live requests batches get a small part of each step; these are planned as if alone.
"""

from collections.abc import Collection
from dataclasses import dataclass

from worker.inference.project_queue import ProjectQueue
from worker.inference.slots import Prefill, Sequence

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
# Attention makes a token cost more the more tokens precede it: a row's cost grows by that of one
# prompt token per so many, and a prompt token's doubles.
CONTEXT_PER_ROW_COST = 256
CONTEXT_PER_PROMPT_COST = 2048
# What batches get of a step beside live requests. It prolongs the step by about a seventh.
BATCH_QUANTUM = 4


@dataclass(frozen=True, slots=True)
class Step:
    """One step: chunks of prompts, then rows, or None for all rows."""

    prefills: list[tuple[Prefill, int]]
    rows: list[Sequence] | None


class StepPlanner:
    """Plans one step after the other."""

    def __init__(self) -> None:
        self._shared_steps_left = 0

    def plan(self, queues: Collection[ProjectQueue]) -> Step:
        """Choose what the next step computes."""
        live = [queue for queue in queues if not queue.is_of_batches]
        batches = [queue for queue in queues if queue.is_of_batches]
        if not any(queue.turns for queue in live):
            return self._plan_equals(queues)
        return _add_batches(self._plan_equals(live), live, batches)

    def _plan_equals(self, queues: Collection[ProjectQueue]) -> Step:
        active = [queue for queue in queues if queue.turns]
        if len(queues) > 1:
            self._shared_steps_left = SHARED_STEPS
        if not self._shared_steps_left:
            return _plan_exclusive(active)
        self._shared_steps_left -= 1
        return _plan_shared(active)


def _add_batches(step: Step, live: list[ProjectQueue], batches: list[ProjectQueue]) -> Step:
    """Add a small part of what batches have to a step of live requests."""
    active = [queue for queue in batches if queue.turns]
    if not active:
        return step
    rows = step.rows
    if rows is None:
        rows = [item for queue in live for item in queue.turns if isinstance(item, Sequence)]
    shared = Step(step.prefills, rows)
    for queue in active:
        queue.deficit += max(1, BATCH_QUANTUM // len(active))
        _serve(queue, shared)
    return shared


def _plan_shared(active: list[ProjectQueue]) -> Step:
    """Deficit round robin: rounds of one quantum for each project until one can be served.

    A quantum is the least that any needs for a whole step, so that equals hold up none of theirs.
    """
    demands = [_demand(queue) for queue in active]
    quantum = max(MIN_QUANTUM, min([*demands, MAX_QUANTUM]))
    step = Step([], [])
    while active and not (step.prefills or step.rows):
        for queue in active:
            queue.deficit += quantum
            _serve(queue, step)
    return step


def _demand(queue: ProjectQueue) -> int:
    """Compute the cost of computing everything that a project can once."""
    return sum(_cost(item, _min_chunk(item)) for item in queue.turns)


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
