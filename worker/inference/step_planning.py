"""Planning of steps: how much is computed for whom.

Steps are shared by deficit round robin (Shreedhar and Varghese 1995) on what work costs, in units
of one prompt token: a project with long prompts or many rows gets as much of a step as one with a
single short row, once there are both. A project alone computes everything it has in each step.

However many prompts wait, a step computes at most `PREFILL_CHUNK_TOKENS` of live ones, and half as
many beside rows that are being generated.

Beside live requests batches get a small part of each step; these are planned as if alone.
"""

from collections.abc import Collection
from dataclasses import dataclass

from worker.inference.prefix_cache import BLOCK_TOKENS
from worker.inference.project_queue import PREFILL_CHUNK_TOKENS, ProjectQueue
from worker.inference.slots import Prefill, Sequence

# Smallest chunk beside other projects: each chunk also costs a pass over the weights.
SHARED_CHUNK_TOKENS = 64
# Bounds of what one project gets of a step beside others, in the cost of prompt tokens. Less would
# leave most of a step to its fixed cost, the pass over the weights, which is that of about 25.
MIN_QUANTUM = 16
MAX_QUANTUM = 64
# Steps after the last one that several projects shared in which one is still held to MAX_QUANTUM,
# so that the next request of another does not find a long step in progress.
SHARED_STEPS = 256
# What prompts get of a step beside rows of their own project, so that its streams go on while a
# long prompt is read. Smaller chunks add a pass over the weights each, a tenth of what they cost.
INTERLEAVED_COST = 128
# Attention makes a token cost more the more tokens precede it: a row's cost grows by that of one
# prompt token per so many, and a prompt token's doubles.
CONTEXT_PER_ROW_COST = 256
CONTEXT_PER_PROMPT_COST = 2048
# A grammar's work for a token costs as much as prompt tokens that take as long: 0.1 s for 256.
GRAMMAR_SECONDS_PER_COST = 0.1 / 256
# What batches get of a step beside live requests. It prolongs the step by about a seventh.
BATCH_QUANTUM = 4


@dataclass(frozen=True, slots=True)
class Step:
    """One step: chunks of prompts, then rows, or None for all rows."""

    prefills: list[tuple[Prefill, int]]
    rows: list[Sequence] | None

    @property
    def room(self) -> int:
        """Tokens of prompts that can be added."""
        return PREFILL_CHUNK_TOKENS - sum(tokens for _, tokens in self.prefills)


class StepPlanner:
    """Plans one step after the other."""

    def __init__(self) -> None:
        self._shared_steps_left = 0
        self._number = 0

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
        self._number += 1
        # Not all prompts may find room in a step: those that waited longest come first.
        return _plan_shared(sorted(active, key=lambda queue: queue.prompt_step), self._number)


def _add_batches(step: Step, live: list[ProjectQueue], batches: list[ProjectQueue]) -> Step:
    """Add a small part of what batches have to a step of live requests."""
    active = [queue for queue in batches if queue.turns]
    if not active:
        return step
    rows = step.rows
    if rows is None:
        rows = [item for queue in live for item in queue.turns if isinstance(item, Sequence)]
    # What they may spend limits them: they do not have to wait for a step with few prompts.
    added = Step([], [])
    for queue in active:
        queue.deficit += max(1, BATCH_QUANTUM // len(active))
        _serve(queue, added)
    return Step([*step.prefills, *added.prefills], [*rows, *(added.rows or ())])


def _plan_shared(active: list[ProjectQueue], number: int) -> Step:
    """Deficit round robin: rounds of one quantum for each project until one can be served.

    A quantum is the least that any needs for a whole step, so that equals hold up none of theirs.
    """
    demands = [_demand(queue) for queue in active]
    quantum = max(MIN_QUANTUM, min([*demands, MAX_QUANTUM]))
    step = Step([], [])
    while active and not (step.prefills or step.rows):
        for queue in active:
            queue.deficit += quantum
            num_prompts = len(step.prefills)
            _serve(queue, step)
            if len(step.prefills) > num_prompts:
                queue.prompt_step = number
    return step


def _demand(queue: ProjectQueue) -> int:
    """Compute the cost of computing everything that a project can once."""
    return sum(_cost(item, _min_chunk(item)) for item in queue.turns)


def _plan_exclusive(active: list[ProjectQueue]) -> Step:
    step = Step([], None)
    prefills = [item for queue in active for item in queue.prefills if item in queue.turns]
    budget = INTERLEAVED_COST if any(map(_has_live_rows, active)) else None
    for prefill in prefills:
        if budget is None:
            tokens = _chunk(prefill, step.room)
        elif budget > 0:
            tokens = _affordable_chunk(prefill, budget, step.room)
            budget -= _cost(prefill, tokens)
        else:
            break
        if tokens:
            step.prefills.append((prefill, tokens))
    return step


def _has_live_rows(queue: ProjectQueue) -> bool:
    return not queue.is_of_batches and any(isinstance(item, Sequence) for item in queue.turns)


def _serve(queue: ProjectQueue, step: Step) -> None:
    """Plan the items of a project in turn, each once, until one costs more than it may spend."""
    is_prompt_left = False
    for _ in range(len(queue.turns)):
        item = queue.turns[0]
        tokens = _min_chunk(item)
        if isinstance(item, Prefill) and tokens > step.room:
            is_prompt_left = True
        elif _cost(item, tokens) > queue.deficit:
            return
        else:
            queue.deficit -= _add(item, queue.deficit, step)
        queue.turns.rotate(-1)
    # What is not needed is not saved.
    queue.deficit = min(queue.deficit, MAX_QUANTUM) if is_prompt_left else 0


def _add(item: Prefill | Sequence, deficit: int, step: Step) -> int:
    """Add what a project can pay for to a step; return the cost."""
    if isinstance(item, Sequence):
        if step.rows is not None:
            step.rows.append(item)
        return _cost(item, 1)
    tokens = _affordable_chunk(item, deficit, step.room)
    step.prefills.append((item, tokens))
    return _cost(item, tokens)


def _chunk(prefill: Prefill, limit: int) -> int:
    """Tokens of the next chunk of a prompt: its rest, or blocks that the prefix cache keeps."""
    if prefill.num_remaining <= limit:
        return prefill.num_remaining
    end = prefill.num_computed + limit
    return max(end - end % BLOCK_TOKENS - prefill.num_computed, 0)


def _min_chunk(item: Prefill | Sequence) -> int:
    if isinstance(item, Sequence):
        return 1
    return min(SHARED_CHUNK_TOKENS, item.num_remaining)


def _affordable_chunk(prefill: Prefill, deficit: int, room: int) -> int:
    """Tokens of the next chunk: what `deficit` pays for, within the bounds of a chunk."""
    affordable = (
        deficit * CONTEXT_PER_PROMPT_COST // (CONTEXT_PER_PROMPT_COST + prefill.num_computed)
    )
    return _chunk(prefill, min(max(affordable, SHARED_CHUNK_TOKENS), room))


def _cost(item: Prefill | Sequence, tokens: int) -> int:
    """Cost of a step's work on a row, or on `tokens` of a prompt.

    A grammar's work is paid for by the next token, since it is not known before.
    """
    if isinstance(item, Sequence):
        grammar = int(item.sampler.grammar_seconds / GRAMMAR_SECONDS_PER_COST)
        return 1 + item.length // CONTEXT_PER_ROW_COST + grammar
    return tokens + tokens * item.num_computed // CONTEXT_PER_PROMPT_COST
