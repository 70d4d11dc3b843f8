"""Requests to one engine, closed-loop or as a Poisson process, and the times of their tokens."""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

REQUEST_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Cell:
    """Traffic of one cell: `adapters` 0 is the base model; `rate` of open-loop arrivals per second.

    With `is_zipf` the n-th adapter is asked in proportion to 1/n, and none is loaded beforehand.
    """

    adapters: int
    clients: int
    prompt_tokens: int
    rate: float | None = None
    tokens: int = 64
    is_zipf: bool = False

    @property
    def name(self) -> str:
        traffic = f"C{self.clients}" if self.rate is None else f"R{self.rate:g}"
        return f"{'Z' if self.is_zipf else 'D'}{self.adapters}{traffic}P{self.prompt_tokens}"


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt's token ids, and the number of the adapter that answers, or None for the base."""

    prompt: list[int]
    adapter: int | None
    tokens: int


@dataclass(slots=True)
class Timing:
    """Times at which a request was sent and its tokens came, in seconds of one clock."""

    sent_at: float
    token_at: list[float] = field(default_factory=list)
    # As the engine reports it: texts of several tokens may come together.
    num_tokens: int = 0
    text: str = ""

    @property
    def first_seconds(self) -> float:
        return self.token_at[0] - self.sent_at

    @property
    def intervals(self) -> list[float]:
        return [after - before for before, after in itertools.pairwise(self.token_at)]


class HttpEngine(Protocol):
    """An engine that streams server-sent events from the loopback."""

    port: int
    path: str
    headers: dict[str, str]

    def body(self, question: Question) -> dict[str, Any]:
        """The request's JSON."""

    def read(self, event: dict[str, Any], timing: Timing) -> str:
        """Return an event's text; set the number of tokens if the event has it."""


def make_questions(cell: Cell, count: int, *, seed: int, vocab_size: int) -> list[Question]:
    """Draw prompts of random tokens, so that no two begin alike, for the adapters in turn."""
    draw = random.Random(f"{cell.name} {seed}")
    adapters: Sequence[int | None] = range(cell.adapters) if cell.adapters else [None]
    if cell.is_zipf:
        weights = [1 / rank for rank in range(1, cell.adapters + 1)]
        adapters = draw.choices(range(cell.adapters), weights, k=count)
    return [
        Question(
            [draw.randrange(100, vocab_size) for _ in range(cell.prompt_tokens)],
            adapter,
            cell.tokens,
        )
        for adapter in itertools.islice(itertools.cycle(adapters), count)
    ]


async def ask(engine: HttpEngine, question: Question) -> Timing:
    """Send one request and read its stream. Raises RuntimeError if it is not answered in full."""
    content = json.dumps(engine.body(question)).encode()
    headers = {
        **engine.headers,
        "Host": "127.0.0.1",
        "Content-Type": "application/json",
        "Content-Length": str(len(content)),
        "Connection": "close",
    }
    head = f"POST {engine.path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    timing = Timing(time.perf_counter())
    async with asyncio.timeout(REQUEST_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", engine.port, limit=2**20)
        try:
            writer.write(f"{head}\r\n".encode() + content)
            status = await reader.readline()
            if b" 200 " not in status:
                raise RuntimeError(f"{status!r}: {(await reader.read(1000))!r}")
            await _read_events(engine, reader, timing)
        finally:
            writer.close()
    if timing.num_tokens != question.tokens:
        raise RuntimeError(f"{timing.num_tokens} tokens instead of {question.tokens}")
    return timing


async def _read_events(engine: HttpEngine, reader: asyncio.StreamReader, timing: Timing) -> None:
    """Read the lines of data; those with the sizes of chunks begin otherwise."""
    while line := await reader.readline():
        if not line.startswith(b"data: {"):
            continue
        text = engine.read(json.loads(line[6:]), timing)
        if text:
            timing.token_at.append(time.perf_counter())
            timing.text += text


async def closed_loop(
    send: Callable[[Question], Awaitable[Timing]], questions: Iterable[Question], clients: int
) -> list[Timing]:
    """Send the questions from clients that each wait for the end of an answer."""
    remaining = iter(questions)
    timings: list[Timing] = []

    async def run_client() -> None:
        for question in remaining:
            timings.append(await send(question))

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(run_client())
    return timings


async def open_loop(
    send: Callable[[Question], Awaitable[Timing]],
    questions: Iterable[Question],
    rate: float,
    *,
    seed: int,
) -> list[Timing]:
    """Send the questions at the times of a Poisson process, however many are being answered."""
    draw = random.Random(seed)
    async with asyncio.TaskGroup() as group:
        tasks = []
        for question in questions:
            tasks.append(group.create_task(_collect(send(question))))
            await asyncio.sleep(draw.expovariate(rate))
    return [task.result() for task in tasks]


async def _collect(answer: Awaitable[Timing]) -> Timing:
    return await answer
