from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from app.errors import ServiceUnavailable
from worker.inference.engine import Engine
from worker.inference.engine_thread import EngineThread
from worker.inference.llama import LlamaDecoder
from worker.inference.messages import Event, Failed, Finished, Request, SamplingParams, Token

ENDLESS = 400


class Listener:
    """Receives a request's events as the server does: in another thread than the engine's."""

    def __init__(self, **changes: Any) -> None:
        self.events: SimpleQueue[Event] = SimpleQueue()
        fields: dict[str, Any] = {
            "prompt": [5],
            "choices": 1,
            "max_new_tokens": 3,
            "stop_ids": frozenset(),
            "sampling": SamplingParams(temperature=0),
            "adapter": None,
            "emit": self.events.put,
        }
        self.request = Request(**{**fields, **changes})

    def next(self) -> Event:
        return self.events.get(timeout=120)

    def last(self) -> Event:
        while isinstance(event := self.next(), Token):
            pass
        return event


@pytest.fixture
def engine(decoder: LlamaDecoder) -> Engine:
    return Engine(decoder, vocab_size=263)


@pytest.fixture
def make() -> Iterator[Callable[..., EngineThread]]:
    made = []

    def make(**settings: Any) -> EngineThread:
        made.append(EngineThread(**settings))
        return made[-1]

    yield make
    for thread in made:
        thread.stop()


def test_several_requests_at_once(engine: Engine, make: Callable[..., EngineThread]) -> None:
    thread = make()
    thread.start()
    listeners = [Listener() for _ in range(5)]
    for listener in listeners:
        thread.submit(engine, listener.request)
    assert [listener.last() for listener in listeners] == [Finished(0, "length")] * 5


def test_an_aborted_request_falls_silent(engine: Engine, make: Callable[..., EngineThread]) -> None:
    thread = make()
    thread.start()

    def leave(event: Event) -> None:
        """At once, whatever else keeps the test's own thread."""
        if leaving.events.empty():
            thread.abort(engine, leaving.request)
        leaving.events.put(event)

    leaving = Listener(max_new_tokens=ENDLESS, emit=leave)
    staying = Listener(max_new_tokens=ENDLESS)
    for listener in (leaving, staying):
        thread.submit(engine, listener.request)
    assert staying.last() == Finished(0, "length")
    assert leaving.events.qsize() < ENDLESS - 1
    while not leaving.events.empty():
        assert isinstance(leaving.next(), Token), "no last word"


def test_too_many_are_turned_away(engine: Engine, make: Callable[..., EngineThread]) -> None:
    thread = make(most_waiting=2)
    for _ in range(2):
        thread.submit(engine, Listener().request)
    with pytest.raises(ServiceUnavailable, match="overloaded") as raised:
        thread.submit(engine, Listener().request)
    assert raised.value.headers["Retry-After"]


def test_stopping_ends_what_runs_and_what_waits(
    engine: Engine, make: Callable[..., EngineThread]
) -> None:
    thread = make()

    def stop(event: Event) -> None:
        running.events.put(event)
        thread.stop()

    running, waiting = Listener(max_new_tokens=ENDLESS, emit=stop), Listener()
    thread.start()
    thread.submit(engine, running.request)
    failed = running.last()
    assert isinstance(failed, Failed)
    assert failed.error.status == 503
    thread.join(120)
    assert thread.has_ended
    assert not thread.has_failed
    with pytest.raises(ServiceUnavailable):
        thread.submit(engine, waiting.request)


class Crashing(Engine):
    """Breaks outside of any request."""

    def step(self) -> None:
        raise MemoryError("no way on")


def test_a_crash_is_told_to_all_and_ends_the_thread(
    decoder: LlamaDecoder, make: Callable[..., EngineThread]
) -> None:
    thread = make()
    listener = Listener()
    thread.submit(Crashing(decoder, vocab_size=263), listener.request)
    thread.start()
    failed = listener.last()
    assert isinstance(failed, Failed)
    assert failed.error.status == 500
    thread.join(120)
    assert thread.has_ended
    assert thread.has_failed
