"""The engine thread: commands between steps, overload, crashes and shutdown."""

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from app.errors import ServiceUnavailable
from worker.inference.engine import Engine
from worker.inference.engine_thread import EngineThread
from worker.inference.llama_decoder import LlamaDecoder
from worker.inference.messages import Event, Failed, Finished, Request, SamplingParams, Token

ENDLESS = 400


class Listener:
    """Receives a request's events outside of the engine thread, as the server does."""

    def __init__(self, **changes: Any) -> None:
        self.events: SimpleQueue[Event] = SimpleQueue()
        fields: dict[str, Any] = {
            "prompt": [5],
            "num_choices": 1,
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
def make_thread() -> Iterator[Callable[..., EngineThread]]:
    threads = []

    def make_thread(**settings: Any) -> EngineThread:
        threads.append(EngineThread(**settings))
        return threads[-1]

    yield make_thread
    for thread in threads:
        thread.stop()


def test_concurrent_requests(engine: Engine, make_thread: Callable[..., EngineThread]) -> None:
    thread = make_thread()
    thread.start()
    listeners = [Listener() for _ in range(5)]
    for listener in listeners:
        thread.submit(engine, listener.request)
    assert [listener.last() for listener in listeners] == [Finished(0, "length")] * 5


def test_an_aborted_request_emits_nothing_more(
    engine: Engine, make_thread: Callable[..., EngineThread]
) -> None:
    thread = make_thread()
    thread.start()

    def leave(event: Event) -> None:
        """Abort from the engine thread, at the first event."""
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
        assert isinstance(leaving.next(), Token), "no final event"


def test_a_full_queue_rejects_requests(
    engine: Engine, make_thread: Callable[..., EngineThread]
) -> None:
    thread = make_thread(max_waiting=2)
    for _ in range(2):
        thread.submit(engine, Listener().request)
    with pytest.raises(ServiceUnavailable, match="overloaded") as raised:
        thread.submit(engine, Listener().request)
    assert raised.value.headers["Retry-After"]


def test_stop_fails_running_and_waiting_requests(
    engine: Engine, make_thread: Callable[..., EngineThread]
) -> None:
    thread = make_thread()

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
    """Crashes outside of any request."""

    def step(self) -> None:
        raise MemoryError("out of memory")


def test_a_crash_fails_all_requests_and_ends_the_thread(
    decoder: LlamaDecoder, make_thread: Callable[..., EngineThread]
) -> None:
    thread = make_thread()
    listener = Listener()
    thread.submit(Crashing(decoder, vocab_size=263), listener.request)
    thread.start()
    failed = listener.last()
    assert isinstance(failed, Failed)
    assert failed.error.status == 500
    thread.join(120)
    assert thread.has_ended
    assert thread.has_failed
