"""Scheduling: requests of a project start in order, and projects share slots and steps."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from app.wire.engine_metadata import Priority
from tests.executed_lines import count_executed_lines
from worker.inference.messages import Event, Request, SamplingParams
from worker.inference.project_queue import MAX_SKIPPED_ROUNDS, PREFILL_CHUNK_TOKENS
from worker.inference.scheduler import TIME_SLICE_TOKENS, Scheduler
from worker.inference.shares import name_share
from worker.inference.slots import NO_SLOT, Prefill, Sequence
from worker.inference.step_planning import (
    BATCH_QUANTUM,
    GRAMMAR_SECONDS_PER_COST,
    INTERLEAVED_COST,
    MAX_QUANTUM,
    SHARED_CHUNK_TOKENS,
    Step,
)

CONTEXT_LENGTH = 4096


@dataclass
class FakeKv:
    """Slots that remember whose keys and values they hold."""

    num_slots: int
    num_tokens: int
    owners: dict[int, Request] = field(default_factory=dict)
    copies: int = 0

    def copy_slot(self, source: int, target: int, length: int) -> None:
        self.copies += 1
        self.owners[target] = self.owners[source]

    def move_slot(self, source: int, target: int, length: int) -> None:
        self.copies += 1
        self.owners[target] = self.owners.pop(source)

    def release_slot(self, slot: int) -> None:
        self.owners.pop(slot, None)

    def swap_out(self, slot: int, length: int) -> object:
        return self.owners[slot]

    def swap_in(self, slot: int, swapped_kv: object) -> None:
        assert isinstance(swapped_kv, Request)
        self.owners[slot] = swapped_kv


def ignore(_event: Event) -> None: ...


def make_request(
    choices: int = 1, project: str = "", prompt: int = 3, tokens: int = 5, **fields: bool
) -> Request:
    return Request(
        prompt=[1] * prompt,
        num_choices=choices,
        max_new_tokens=tokens,
        stop_ids=frozenset(),
        sampling=SamplingParams(),
        adapter=None,
        project=project,
        emit=ignore,
        **fields,
    )


class Run:
    """Steps a scheduler as the engine does, without a model; counts what each request got."""

    def __init__(self, num_slots: int, num_tokens: int | None = None) -> None:
        self.kv = FakeKv(num_slots, num_tokens or num_slots * CONTEXT_LENGTH)
        self.scheduler = Scheduler(self.kv)
        self.generated: dict[Request, int] = {}
        self.prefilled: dict[Request, int] = {}
        self.finished: list[Request] = []
        self.steps: list[Step] = []

    def submit(self, *requests: Request) -> None:
        for request in requests:
            self.scheduler.submit(request)

    def step(self) -> Step:
        self._start(self.scheduler.admit())
        step = self.scheduler.plan_step()
        self.steps.append(step)
        for prefill, tokens in step.prefills:
            self._prefill(prefill, tokens)
        self._start(self.scheduler.admit())
        rows = self.scheduler.running if step.rows is None else step.rows
        for row in [row for row in rows if row.slot != NO_SLOT]:
            assert self.kv.owners[row.slot] is row.request, "a row reads another request's slot"
            row.length += 1
            self._append(row)
        return step

    def run(self, steps: int = 10_000) -> None:
        for _ in range(steps):
            if self.scheduler.is_idle:
                return
            self.step()

    def steps_until(self, request: Request, *, tokens: int = 1) -> int:
        """Step until a request has so many tokens; returns the number of steps."""
        for count in range(1, 10_000):
            self.step()
            if self.generated.get(request, 0) >= tokens:
                return count
        raise AssertionError("the request is never served")

    def _prefill(self, prefill: Prefill, tokens: int) -> None:
        if prefill.num_computed == 0:
            self.kv.owners[prefill.slot] = prefill.request
        assert self.kv.owners[prefill.slot] is prefill.request
        prefill.num_computed += tokens
        prefill.num_served += tokens
        request = prefill.request
        self.prefilled[request] = self.prefilled.get(request, 0) + tokens
        if prefill.is_computed:
            if request.pooling:
                self.scheduler.end_prefill(prefill)
                self.finished.append(request)
            else:
                self.scheduler.prefill_computed(prefill)

    def _start(self, started: list[tuple[Sequence, Prefill]]) -> None:
        for sequence, _ in started:
            self._append(sequence)

    def _append(self, sequence: Sequence) -> None:
        request = sequence.request
        sequence.num_generated += 1
        sequence.num_served += 1
        self.generated[request] = self.generated.get(request, 0) + 1
        if sequence.num_generated >= request.max_new_tokens:
            self.scheduler.remove(sequence)
            if self.generated[request] == request.max_new_tokens * request.num_choices:
                self.finished.append(request)


class TestOneProject:
    def test_requests_start_in_order(self) -> None:
        run = Run(num_slots=3)
        requests = [make_request(choices) for choices in (2, 2, 1, 3, 1)]
        run.submit(*requests)
        run.run()
        assert sorted(map(id, run.finished)) == sorted(map(id, requests))
        assert list(run.prefilled) == requests

    def test_it_uses_all_slots(self) -> None:
        run = Run(num_slots=3)
        run.submit(*(make_request(tokens=99) for _ in range(5)))
        for _ in range(6):
            run.step()
        assert len(run.scheduler.running) == 3
        assert run.scheduler.num_waiting == 2

    def test_choices_start_as_slots_become_free(self) -> None:
        run = Run(num_slots=2)
        wide = make_request(choices=7)
        run.submit(make_request(tokens=9), wide)
        run.run()
        assert run.generated[wide] == 7 * 5

    def test_one_long_prompt_prefills_at_a_time_in_large_chunks(self) -> None:
        run = Run(num_slots=3)
        run.submit(make_request(prompt=1000), make_request(prompt=1000))
        assert [tokens for _, tokens in run.step().prefills] == [PREFILL_CHUNK_TOKENS]

    def test_short_prompts_prefill_together(self) -> None:
        run = Run(num_slots=9)
        requests = [make_request(prompt=60) for _ in range(8)]
        run.submit(*requests)
        run.step()
        run.step()
        chunks = [[tokens for _, tokens in step.prefills] for step in run.steps]
        assert chunks == [[60] * 4, [60] * 3]
        assert list(run.prefilled) == requests[:7]
        assert len(run.scheduler.running) == 7

    def test_a_long_prompt_is_read_by_small_chunks_beside_streams_of_its_project(self) -> None:
        run = Run(num_slots=3, num_tokens=20_000)
        run.submit(make_request(tokens=4000))
        run.step()
        run.submit(make_request(prompt=7000))
        run.run(steps=20)
        chunks = [tokens for step in run.steps[1:] for _, tokens in step.prefills]
        assert chunks[0] == INTERLEAVED_COST
        assert set(chunks[-3:]) == {SHARED_CHUNK_TOKENS}

    def test_the_rest_of_a_prompt_leaves_room_for_the_next(self) -> None:
        run = Run(num_slots=9)
        run.submit(make_request(prompt=PREFILL_CHUNK_TOKENS + 6), make_request(prompt=300))
        chunks = [[tokens for _, tokens in run.step().prefills] for _ in range(3)]
        assert chunks == [[PREFILL_CHUNK_TOKENS], [6, 192], [108]]

    def test_a_pooled_prompt_needs_no_row(self) -> None:
        run = Run(num_slots=1)
        run.submit(make_request(tokens=50))
        run.step()
        pooled = make_request(choices=0, tokens=0, pooling=True)
        run.submit(pooled)
        run.step()
        assert run.finished == [pooled]

    @pytest.mark.parametrize("num_slots", [1, 2, 3])
    def test_wide_requests_of_many_projects_all_end(self, num_slots: int) -> None:
        run = Run(num_slots)
        requests = [
            make_request(num_slots, project=f"p{n}", prompt=70 * n + 1, tokens=300 * n + 1)
            for n in range(5)
        ]
        run.submit(*requests)
        run.run()
        assert set(run.finished) == set(requests)


class TestMemory:
    """Rows start if all that they may write fits into memory, however many slots are free."""

    def test_rows_start_as_memory_becomes_free(self) -> None:
        run = Run(num_slots=8, num_tokens=100)
        requests = [make_request(prompt=20, tokens=20 + n) for n in range(4)]
        run.submit(*requests)
        most = 0
        while not run.scheduler.is_idle:
            run.step()
            most = max(most, len(run.scheduler.running))
        assert most == 2
        assert run.finished == requests

    def test_a_request_that_needs_more_than_all_memory_runs_alone(self) -> None:
        run = Run(num_slots=8, num_tokens=100)
        large, small = make_request(prompt=90, tokens=90), make_request(prompt=3, tokens=5)
        run.submit(large, small)
        run.step()
        assert [row.request for row in run.scheduler.running] == [large]
        run.run()
        assert run.finished == [large, small]

    def test_a_large_request_is_not_overtaken_for_ever(self) -> None:
        run = Run(num_slots=8, num_tokens=100)
        large = make_request(project="large", prompt=50, tokens=45)
        run.submit(*(make_request(project="small", prompt=10, tokens=10) for _ in range(100)))
        run.step()
        run.submit(large)
        assert run.steps_until(large) < 100

    @pytest.mark.parametrize("num_tokens", [10, 120, 700])
    def test_wide_requests_of_many_projects_all_end(self, num_tokens: int) -> None:
        run = Run(num_slots=5, num_tokens=num_tokens)
        requests = [
            make_request(3, project=f"p{n}", prompt=70 * n + 1, tokens=300 * n + 1)
            for n in range(4)
        ]
        run.submit(*requests)
        run.run()
        assert set(run.finished) == set(requests)

    def test_rows_are_not_preempted_in_vain(self) -> None:
        run = Run(num_slots=8, num_tokens=110)
        run.submit(*(make_request(project="small", prompt=5, tokens=20) for _ in range(4)))
        run.submit(make_request(project="small", prompt=5, tokens=1))
        for _ in range(5):
            run.step()
        rows = len(run.scheduler.running)
        run.submit(make_request(project="large", prompt=50, tokens=50))
        run.step()
        run.step()
        assert len(run.scheduler.running) == rows

    def test_memory_is_exceeded_by_one_row_at_most(self) -> None:
        run = Run(num_slots=16, num_tokens=200)
        run.submit(*(make_request(4, project=f"p{n % 3}", prompt=20, tokens=30) for n in range(9)))
        while not run.scheduler.is_idle:
            run.step()
            assert sum(row.length for row in run.scheduler.running) <= 200 + 50
        assert len(run.finished) == 9


class TestAbort:
    def test_the_last_slot_fills_the_gap(self) -> None:
        run = Run(num_slots=4)
        first, second, third = requests = [make_request(tokens=99) for _ in range(3)]
        run.submit(*requests)
        for _ in range(3):
            run.step()
        run.scheduler.abort(first)
        assert [row.request for row in run.scheduler.running] == [third, second]
        run.step()

    def test_one_choice(self) -> None:
        run = Run(num_slots=5)
        request = make_request(3, tokens=99)
        run.submit(request)
        run.step()
        run.scheduler.abort(request, 1)
        assert sorted(row.choice for row in run.scheduler.running) == [0, 2]

    @pytest.mark.parametrize("steps", [0, 1, 2, 5, 50, 300])
    def test_in_every_state(self, steps: int) -> None:
        run = Run(num_slots=2)
        requests = [
            make_request(2, project=project, prompt=300, tokens=400) for project in "aabbcd"
        ]
        run.submit(*requests)
        run.run(steps)
        for request in requests:
            run.scheduler.abort(request)
            run.scheduler.abort(request)
        assert run.scheduler.is_idle
        assert run.scheduler.num_waiting == 0
        assert not run.scheduler.running

    def test_clear_returns_each_request_once(self) -> None:
        run = Run(num_slots=2)
        requests = [make_request(2, project=project, tokens=400) for project in "aab"]
        run.submit(*requests)
        run.run(steps=20)
        assert sorted(map(id, run.scheduler.clear())) == sorted(map(id, requests))
        assert run.scheduler.is_idle


class TestA53Neighbour:
    """One project with all that the limits allow beside another with a short chat."""

    def test_a53_forty_long_chats_do_not_delay_a_short_one(self) -> None:
        run = Run(num_slots=15)
        run.submit(*(make_request(project="a", prompt=3000, tokens=1000) for _ in range(40)))
        run.run(steps=400)
        short = make_request(project="b", prompt=20, tokens=16)
        run.submit(short)
        assert run.steps_until(short) <= 2, "its prompt is not next"
        assert run.steps_until(short, tokens=16) <= 16, "it does not decode in every step"
        assert run.steps[-1].rows, "the other project is served too"

    def test_a53_a_project_with_one_row_gets_half_of_each_step(self) -> None:
        run = Run(num_slots=15)
        run.submit(*(make_request(project="a", prompt=3000, tokens=1000) for _ in range(40)))
        run.run(steps=400)
        work_before = sum(run.prefilled.values()) + sum(run.generated.values())
        short = make_request(project="b", prompt=20, tokens=100)
        run.submit(short)
        steps = run.steps_until(short, tokens=100)
        work = sum(run.prefilled.values()) + sum(run.generated.values()) - work_before - 120
        assert 0 < work <= (steps + 2) * MAX_QUANTUM

    def test_a53_a_project_pays_for_the_work_of_its_grammars(self) -> None:
        run = Run(num_slots=16)
        run.submit(*(make_request(project="a", tokens=1000) for _ in range(15)))
        run.run(steps=5)
        constrained = list(run.scheduler.running)
        # The longest that a mask may take.
        for row in constrained:
            row.sampler.grammar_seconds = 0.02
        other = make_request(project="b", tokens=100)
        run.submit(other)
        before = sum(row.num_generated for row in constrained)
        steps = run.steps_until(other, tokens=100)
        masks = sum(row.num_generated for row in constrained) - before
        assert steps <= 105, "the neighbour does not get a token in every step"
        assert 0 < masks * (0.02 / GRAMMAR_SECONDS_PER_COST) <= (steps + 2) * MAX_QUANTUM

    def test_a53_prompts_of_two_projects_take_turns(self) -> None:
        run = Run(num_slots=15)
        long = make_request(project="a", prompt=4000)
        run.submit(long)
        run.step()
        other = make_request(project="b", prompt=500)
        run.submit(other)
        chunks = -(-500 // SHARED_CHUNK_TOKENS)
        assert run.steps_until(other) <= 2 * chunks
        assert run.prefilled[long] < 4000

    def test_a53_prompts_of_many_projects_share_a_step(self) -> None:
        """A step stays short with any number of prompts, and each gets its turn."""
        run = Run(num_slots=15)
        requests = [make_request(project=f"p{n}", prompt=640) for n in range(10)]
        run.submit(*requests)
        run.run(steps=25)
        for step in run.steps:
            assert sum(tokens for _, tokens in step.prefills) <= PREFILL_CHUNK_TOKENS
        shares = sorted(run.prefilled[request] for request in requests)
        assert shares[-1] - shares[0] <= 2 * SHARED_CHUNK_TOKENS

    def test_a53_choices_are_weighed_one_by_one(self) -> None:
        run = Run(num_slots=16)
        run.submit(*(make_request(8, project="a", tokens=1000) for _ in range(4)))
        run.run(steps=10)
        requests = [make_request(project="b", tokens=1000) for _ in range(8)]
        run.submit(*requests)
        run.run(steps=20)
        assert len(run.scheduler.running) == 16
        shares = [row.request.project for row in run.scheduler.running]
        assert shares.count("b") == 8

    def test_a53_a_preempted_row_goes_on_and_nothing_is_computed_twice(self) -> None:
        run = Run(num_slots=4)
        requests = [make_request(project="a", prompt=100, tokens=500) for _ in range(8)]
        run.submit(*requests)
        run.run(steps=50)
        others = [make_request(project=f"p{n}", prompt=30, tokens=400) for n in range(6)]
        run.submit(*others)
        run.run()
        assert set(run.finished) == {*requests, *others}
        assert all(run.prefilled[request] == 100 for request in requests)
        assert all(run.generated[request] == 500 for request in requests)

    def test_a53_more_projects_than_slots_take_turns(self) -> None:
        run = Run(num_slots=1)
        long = make_request(project="a", tokens=3000)
        run.submit(long)
        run.run(steps=TIME_SLICE_TOKENS + 5)
        short = make_request(project="b", tokens=4)
        run.submit(short)
        assert run.steps_until(short, tokens=4) < 20
        generated = run.generated[long]
        run.run(steps=10)
        assert run.generated[long] > generated, "the preempted row does not go on"

    def test_a53_deciding_costs_no_more_with_a_long_queue(self) -> None:
        """Counted in copies of keys and values: none is made for requests that wait."""
        copies = []
        for queued in (50, 250):
            run = Run(num_slots=4)
            run.submit(*(make_request(project="a", tokens=1000) for _ in range(queued)))
            run.submit(*(make_request(project="b", tokens=1000) for _ in range(4)))
            run.run(steps=200)
            copies.append(run.kv.copies)
        assert copies[0] == copies[1]

    def test_a53_deciding_costs_little_more_for_each_waiting_project(self) -> None:
        lines = []
        for num_projects in (40, 160):
            run = Run(num_slots=4)
            projects = [f"proj_{number}" for number in range(num_projects)]
            run.submit(*(make_request(project=project, tokens=1000) for project in projects))
            run.run(steps=10)
            lines.append(count_executed_lines(run.step))
        assert lines[1] < 5 * lines[0]


def step_until(run: Run, is_met: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if is_met():
            return
        run.step()
    raise AssertionError("the condition is never met")


class TestBatches:
    """Requests of batches get what live requests leave, and a little more."""

    BATCH = name_share("a", Priority.BATCH)

    def test_live_requests_take_the_slots_of_a_batch(self) -> None:
        run = Run(num_slots=4)
        run.submit(*(make_request(project=self.BATCH, tokens=100) for _ in range(8)))
        step_until(run, lambda: len(run.scheduler.running) == 4)
        live = [make_request(project=project, tokens=20) for project in "aabb"]
        run.submit(*live)
        step_until(run, lambda: all(request in run.generated for request in live))
        assert {each.request for each in run.scheduler.running} == set(live)
        # Preempted rows go on where they were.
        run.run()
        assert set(run.generated.values()) == {20, 100}
        assert set(run.finished[:4]) == set(live)

    def test_a_batch_uses_all_slots_that_are_free(self) -> None:
        run = Run(num_slots=4)
        live = make_request(project="a", tokens=30)
        run.submit(live, *(make_request(project=self.BATCH, tokens=30) for _ in range(6)))
        step_until(run, lambda: len(run.scheduler.running) == 4)
        assert live in {each.request for each in run.scheduler.running}

    def test_a_batch_slows_live_rows_little(self) -> None:
        run = Run(num_slots=16)
        live = [make_request(project="a", tokens=1000) for _ in range(2)]
        run.submit(*live, *(make_request(project=self.BATCH, tokens=200) for _ in range(14)))
        step_until(run, lambda: len(run.scheduler.running) == 16)
        for _ in range(10):
            rows = run.step().rows
            assert rows is not None
            assert sum(row.request in live for row in rows) == 2
            assert len(rows) <= 2 + BATCH_QUANTUM

    def test_a_batch_does_not_starve(self) -> None:
        """It gets a slot for a turn although live requests never leave one free."""
        run = Run(num_slots=2)
        batch = make_request(project=self.BATCH, tokens=TIME_SLICE_TOKENS // 2)
        run.submit(batch)
        for _ in range(4 * MAX_SKIPPED_ROUNDS):
            while run.scheduler.num_waiting_of("a") < 4:
                run.submit(make_request(project="a", tokens=16))
            run.step()
            if batch in run.finished:
                break
        assert batch in run.finished

    def test_live_requests_take_as_many_steps_as_without_a_batch(self) -> None:
        def count_steps(num_of_batch: int) -> int:
            run = Run(num_slots=2)
            live = [make_request(project="a", tokens=8) for _ in range(8)]
            run.submit(*(make_request(project=self.BATCH, tokens=99) for _ in range(num_of_batch)))
            run.submit(*live)
            step_until(run, lambda: set(live) <= set(run.finished))
            return len(run.steps)

        assert count_steps(20) <= count_steps(0) + 4
