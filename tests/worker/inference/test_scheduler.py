"""Scheduling: requests start in order, and their sequences share the slots."""

from worker.inference.messages import Event, Request, SamplingParams
from worker.inference.sampling import Sampler
from worker.inference.scheduler import Scheduler, Sequence, SlotMove


def ignore(_event: Event) -> None: ...


def make_request(choices: int = 1) -> Request:
    return Request(
        prompt=[1, 2, 3],
        num_choices=choices,
        max_new_tokens=5,
        stop_ids=frozenset(),
        sampling=SamplingParams(),
        adapter=None,
        emit=ignore,
    )


def run(scheduler: Scheduler, request: Request) -> list[Sequence]:
    """Give slots to a waiting request's choices, as if its prompt were prefilled."""
    prompt = scheduler.next_prefill()
    assert prompt is not None
    assert prompt.request is request
    scheduler.finish_prefill()
    sampler = Sampler(request.sampling, 0)
    sequences = [Sequence(request, choice, sampler, 3) for choice in range(request.num_choices)]
    for sequence in sequences:
        scheduler.add(sequence)
    return sequences


def test_requests_start_in_order_while_slots_are_free() -> None:
    scheduler = Scheduler(num_slots=3)
    first, wide, late = make_request(2), make_request(2), make_request(1)
    scheduler.waiting.extend([first, wide, late])
    running = run(scheduler, first)
    assert scheduler.next_prefill() is None, (
        "a request that needs two slots waits, and all after it"
    )
    scheduler.remove(running[0])
    run(scheduler, wide)
    assert len(scheduler.running) == 3
    assert list(scheduler.waiting) == [late]


def test_one_prompt_prefills_at_a_time() -> None:
    scheduler = Scheduler(num_slots=3)
    scheduler.waiting.extend([make_request(), make_request()])
    staged = scheduler.next_prefill()
    assert scheduler.next_prefill() is staged


def test_the_last_slot_fills_the_gap() -> None:
    scheduler = Scheduler(num_slots=4)
    request = make_request(3)
    scheduler.waiting.append(request)
    first, second, third = run(scheduler, request)
    third.length = 9
    assert scheduler.remove(first) == SlotMove(source=2, target=0, length=9)
    assert scheduler.running == [third, second]
    assert scheduler.remove(second) is None


def test_aborting_a_request_closes_all_its_gaps() -> None:
    scheduler = Scheduler(num_slots=5)
    aborted, staying = make_request(2), make_request(2)
    scheduler.waiting.extend([aborted, staying])
    run(scheduler, aborted)
    kept = run(scheduler, staying)
    moves = scheduler.abort(aborted)
    assert set(map(id, scheduler.running)) == set(map(id, kept))
    assert [(move.source, move.target) for move in moves] == [(3, 0), (2, 1)]


def test_aborting_one_choice_keeps_the_others() -> None:
    scheduler = Scheduler(num_slots=5)
    request = make_request(3)
    scheduler.waiting.append(request)
    run(scheduler, request)
    scheduler.abort(request, 1)
    assert [sequence.choice for sequence in scheduler.running] == [0, 2]


def test_aborting_a_waiting_or_prefilling_request() -> None:
    scheduler = Scheduler(num_slots=2)
    staged, waiting = make_request(), make_request()
    scheduler.waiting.extend([staged, waiting])
    scheduler.next_prefill()
    assert scheduler.abort(staged) == []
    assert scheduler.abort(waiting) == []
    assert scheduler.is_idle
    assert scheduler.abort(waiting) == [], "aborting it again is a no-op"


def test_clear_returns_each_request_once() -> None:
    scheduler = Scheduler(num_slots=5)
    running, staged, waiting = make_request(2), make_request(), make_request()
    scheduler.waiting.extend([running, staged, waiting])
    run(scheduler, running)
    scheduler.next_prefill()
    assert set(map(id, scheduler.clear())) == set(map(id, [running, staged, waiting]))
    assert scheduler.is_idle
