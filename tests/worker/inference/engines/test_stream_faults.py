"""Faults of streams through the API to the engine's own process: nobody else notices any.

The engine is killed, clients disconnect at any moment, storage is away, prompts are huge. After
each of them nothing is held: no slot, no memory of sequences, no thread, file or connection.
"""

import json
import os
import random
import secrets
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from openai import APIError, BadRequestError

from app.catalog import CatalogModel
from app.db.session import SessionMaker
from app.inference.replicas import Replica
from app.settings import Settings
from tests.polling import wait_until
from tests.ports import free_port
from tests.raw_http import connected
from tests.worker.inference.engine_process import EngineProcess, engine_process
from tests.worker.inference.engines.backends import Served, running_api, serve_tuned
from tests.worker.inference.running_engine import END, HELLO, LONG_CONTEXT, catalog_entry

pytestmark = pytest.mark.live

# Longer than any test: such a stream ends by its client's disconnect alone.
ENDLESS = LONG_CONTEXT - 10_000
NUM_STREAMS = 64
# Threads that asyncio starts when it needs them, and keeps.
MAX_POOL_THREADS = min(32, (os.cpu_count() or 1) + 4)
SCHEMA = {
    "type": "object",
    "properties": {"names": {"type": "array", "items": {"type": "string"}}},
    "required": ["names"],
    "additionalProperties": False,
}


@dataclass
class Service:
    """An API, the process of its engine, and what the API knows of it."""

    url: str
    engine: EngineProcess
    served: Served
    replica: Replica
    storage: Path

    def ask(self, model: str, **changes: Any) -> Any:
        fields = {"messages": HELLO, "temperature": 0, "max_tokens": 24, **changes}
        fields.setdefault("logit_bias", {END: -100})
        return self.served.openai.chat.completions.create(model=model, **fields)

    def read_text(self, model: str) -> str:
        return str(self.ask(model).choices[0].message.content)

    def is_idle(self) -> bool:
        engine = self.engine.client
        held = ("running_requests", "waiting_requests", "kv_tokens")
        return not any(engine.metric(name) for name in held) and not self.replica.in_flight

    def count_connections(self) -> int:
        """Count the API's connections to the engine, after a request that drops stale ones."""
        self.ask(self.served.base, max_tokens=1)
        port = urlsplit(self.engine.url).port
        connections = psutil.Process().net_connections("tcp")
        return sum(bool(each.raddr) and each.raddr.port == port for each in connections)


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory,
    database_url: str,
    redis_url: str,
    base_model: CatalogModel,
    _quiet: None,
) -> Iterator[tuple[Any, str, EngineProcess, CatalogModel]]:
    home = tmp_path_factory.mktemp("service")
    entry = replace(base_model, context_length=LONG_CONTEXT)
    with ExitStack() as stack:
        url = f"http://127.0.0.1:{free_port()}"
        engine = stack.enter_context(engine_process(home, catalog_entry(entry), url))
        settings = Settings(
            home=home,
            database_url=database_url,
            redis_url=redis_url,
            s3_bucket=None,
            engine_url=url,
        )
        app, api_url = stack.enter_context(running_api(home, settings, entry))
        yield app, api_url, engine, entry


@pytest.fixture
def service(
    running: tuple[Any, str, EngineProcess, CatalogModel],
    sessions: SessionMaker,
    base_folder: Path,
) -> Iterator[Service]:
    app, url, engine, entry = running
    name = f"ft:tiny:acme:desk:{secrets.token_hex(4)}"
    served = serve_tuned(app, url, sessions, entry, base_folder, name)
    (replica,) = app.state.engines._find_replicas(entry)
    storage = app.state.shared.settings.home / "storage"
    with served.http, served.openai:
        yield Service(url, engine, served, replica, storage)


def test_an_engine_that_is_killed_ends_its_streams_with_an_error(service: Service) -> None:
    served = service.served
    expected = {name: service.read_text(name) for name in (served.base, served.tuned)}
    streams = [
        service.ask(name, stream=True, max_tokens=ENDLESS)
        for name in (served.base, served.tuned)
        for _ in range(4)
    ]
    for stream in streams:
        for _ in range(3):
            next(stream)
    service.engine.kill()
    for stream in streams:
        with pytest.raises(APIError, match="engine is unavailable") as raised:
            list(stream)
        assert raised.value.type == "server_error"
    wait_until("the API holds no request", lambda: not service.replica.in_flight)
    body = {"model": served.tuned, "messages": HELLO}
    response = served.http.post("/v1/chat/completions", json=body)
    assert response.status_code == 503
    assert response.headers["retry-after"]
    service.engine.start_again()
    assert {name: service.read_text(name) for name in expected} == expected


@dataclass
class Leaver:
    """A client that reads so many events of its answer, then disconnects, rudely or not."""

    body: dict[str, Any]
    path: str
    num_events: int
    is_rude: bool

    def run(self, url: str, secret: str) -> int:
        """Run against the API; returns the number of events that were read."""
        content = json.dumps(self.body).encode()
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: x\r\nAuthorization: {secret}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        events = 0
        with connected(url) as connection:
            connection.sendall(head.encode() + content)
            while events < self.num_events:
                events += connection.recv(4096).count(b"data: ")
            if self.is_rude:
                # A reset in place of an orderly end.
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        return events


def make_leavers(served: Served, chance: random.Random) -> list[Leaver]:
    """Make clients of all kinds of answers, none of which ends by itself."""
    chat, text = "/v1/chat/completions", "/v1/completions"
    format = {"type": "json_schema", "json_schema": {"name": "f", "schema": SCHEMA, "strict": True}}
    long = [{"role": "user", "content": "a long prompt " * 400}]
    kinds: list[tuple[str, dict[str, Any]]] = [
        (chat, {"messages": HELLO}),
        (chat, {"messages": HELLO, "n": 4}),
        (chat, {"messages": HELLO, "response_format": format}),
        (chat, {"messages": long}),
        (text, {"prompt": ["one", "two", "three"]}),
        # Not a stream: its client leaves before there is any answer.
        (chat, {"messages": HELLO, "stream": False}),
    ]
    leavers = []
    for number in range(NUM_STREAMS):
        path, fields = kinds[number % len(kinds)]
        body = {"model": chance.choice([served.base, served.tuned]), "stream": True, **fields}
        body |= {"max_tokens": ENDLESS, "logit_bias": {END: -100}, "temperature": 1}
        events = chance.randrange(0, 6) if body["stream"] else 0
        leavers.append(Leaver(body, path, events, is_rude=chance.random() < 0.5))
    return leavers


def test_nothing_is_held_after_sixty_four_streams_whose_clients_leave(service: Service) -> None:
    served = service.served
    expected = {name: service.read_text(name) for name in (served.base, served.tuned)}
    wait_until("it is idle", service.is_idle)
    chance = random.Random(13)
    secret = str(served.http.headers["authorization"])

    def leave(leaver: Leaver) -> int:
        return leaver.run(service.url, secret)

    def disconnect_all(threads: ThreadPoolExecutor) -> None:
        leavers = make_leavers(served, chance)
        running = [threads.submit(leave, leaver) for leaver in leavers]
        # Neighbours that stay get what they would have got alone.
        staying = [threads.submit(service.read_text, name) for name in expected for _ in range(4)]
        answers = [each.result() for each in staying]
        assert answers == [text for text in expected.values() for _ in range(4)]
        read = [each.result() for each in running]
        assert all(n >= leaver.num_events for n, leaver in zip(read, leavers, strict=True))
        wait_until("nothing runs, waits, or is in memory", service.is_idle)

    with ThreadPoolExecutor(NUM_STREAMS + 8) as threads:
        # What is opened once, and kept, is opened by the first round.
        disconnect_all(threads)
        wait_until("idle connections are closed", lambda: service.count_connections() <= 1)
        before = service.engine.count_threads(), service.engine.count_files()
        disconnect_all(threads)
    wait_until("the API's connections are closed", lambda: service.count_connections() <= 1)
    wait_until("files are closed", lambda: service.engine.count_files() <= before[1])
    assert service.engine.count_threads() <= before[0] + MAX_POOL_THREADS
    assert service.engine.client.metric("failed_requests_total") == 0
    assert {name: service.read_text(name) for name in expected} == expected


def test_storage_that_is_away_ends_requests_that_need_it_alone(service: Service) -> None:
    served = service.served
    stream = service.ask(served.base, stream=True, max_tokens=ENDLESS)
    next(stream)
    away = service.storage.rename(service.storage.with_name("away"))
    try:
        response = served.http.post(
            "/v1/chat/completions", json={"model": served.tuned, "messages": HELLO}
        )
        assert response.status_code == 503, response.text
        assert response.headers["retry-after"]
        assert "storage is temporarily unavailable" in response.json()["error"]["message"]
        assert len([next(stream) for _ in range(20)]) == 20
    finally:
        away.rename(service.storage)
    assert service.read_text(served.tuned) != service.read_text(served.base)
    stream.close()
    wait_until("it is idle", service.is_idle)


HUGE = "tell me more " * 800_000


@pytest.mark.parametrize(
    ("path", "fields", "param", "sentence"),
    [
        (
            "chat/completions",
            {"messages": [{"role": "user", "content": HUGE}]},
            "messages",
            r"messages resulted in at least [0-9]+ tokens",
        ),
        ("completions", {"prompt": HUGE}, "prompt", r"you requested at least [0-9]+ tokens"),
        ("embeddings", {"input": HUGE}, "input[0]", r"input\[0\] is longer"),
    ],
    ids=["chat", "completion", "embedding"],
)
def test_a_prompt_of_ten_megabytes_is_refused_while_others_go_on(
    service: Service, path: str, fields: dict[str, Any], param: str, sentence: str
) -> None:
    """By a lower bound of its tokens, before any of it is tokenized."""
    served = service.served
    stream = service.ask(served.base, stream=True, max_tokens=ENDLESS)
    next(stream)
    with pytest.raises(BadRequestError, match=sentence) as raised:
        served.openai.post(f"/{path}", body={"model": served.base, **fields}, cast_to=object)
    assert raised.value.param == param
    assert len([next(stream) for _ in range(20)]) == 20
    stream.close()
    wait_until("it is idle", service.is_idle)
