from worker.inference.messages import Event, Request, SamplingParams
from worker.inference.sampling import Sampler
from worker.inference.scheduler import Scheduler, Sequence, SlotMove


def ignore(_event: Event) -> None: ...


def request(choices: int = 1) -> Request:
    return Request(
        prompt=[1, 2, 3],
        num_choices=choices,
        max_new_tokens=5,
        stop_ids=frozenset(),
        sampling=SamplingParams(),
        adapter=None,
        emit=ignore,
    )


def run(scheduler: Scheduler, asked: Request) -> list[Sequence]:
    """Bring a waiting request's choices into rows, as if its prompt were computed."""
    prompt = scheduler.next_prefill()
    assert prompt is not None
    assert prompt.request is asked
    scheduler.finish_prefill()
    sampler = Sampler(asked.sampling, 0)
    sequences = [Sequence(asked, choice, sampler, 3) for choice in range(asked.num_choices)]
    for sequence in sequences:
        scheduler.add(sequence)
    return sequences


def test_requests_are_taken_in_order_while_rows_are_free() -> None:
    scheduler = Scheduler(num_slots=3)
    first, wide, late = request(2), request(2), request(1)
    scheduler.waiting.extend([first, wide, late])
    running = run(scheduler, first)
    assert scheduler.next_prefill() is None, (
        "a request that needs two rows waits, and all behind it"
    )
    scheduler.remove(running[0])
    run(scheduler, wide)
    assert len(scheduler.running) == 3
    assert list(scheduler.waiting) == [late]


def test_one_prompt_is_staged_until_it_is_done() -> None:
    scheduler = Scheduler(num_slots=3)
    scheduler.waiting.extend([request(), request()])
    staged = scheduler.next_prefill()
    assert scheduler.next_prefill() is staged


def test_the_last_row_fills_the_gap() -> None:
    scheduler = Scheduler(num_slots=4)
    asked = request(3)
    scheduler.waiting.append(asked)
    first, second, third = run(scheduler, asked)
    third.length = 9
    assert scheduler.remove(first) == SlotMove(source=2, target=0, length=9)
    assert scheduler.running == [third, second]
    assert scheduler.remove(second) is None


def test_dropping_a_request_closes_all_its_gaps() -> None:
    scheduler = Scheduler(num_slots=5)
    going, staying = request(2), request(2)
    scheduler.waiting.extend([going, staying])
    run(scheduler, going)
    kept = run(scheduler, staying)
    moves = scheduler.abort(going)
    assert set(map(id, scheduler.running)) == set(map(id, kept))
    assert [(move.source, move.target) for move in moves] == [(3, 0), (2, 1)]


def test_dropping_one_choice_leaves_the_others() -> None:
    scheduler = Scheduler(num_slots=5)
    asked = request(3)
    scheduler.waiting.append(asked)
    run(scheduler, asked)
    scheduler.abort(asked, 1)
    assert [sequence.choice for sequence in scheduler.running] == [0, 2]


def test_dropping_what_waits_or_is_staged() -> None:
    scheduler = Scheduler(num_slots=2)
    staged, waiting = request(), request()
    scheduler.waiting.extend([staged, waiting])
    scheduler.next_prefill()
    assert scheduler.abort(staged) == []
    assert scheduler.abort(waiting) == []
    assert scheduler.is_idle
    assert scheduler.abort(waiting) == [], "it is gone, and that is fine"


def test_clear_names_each_request_once() -> None:
    scheduler = Scheduler(num_slots=5)
    running, staged, waiting = request(2), request(), request()
    scheduler.waiting.extend([running, staged, waiting])
    run(scheduler, running)
    scheduler.next_prefill()
    assert set(map(id, scheduler.clear())) == set(map(id, [running, staged, waiting]))
    assert scheduler.is_idle
