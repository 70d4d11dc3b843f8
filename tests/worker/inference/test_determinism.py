"""An answer does not depend on what else the engine computes: the rest of a batch, of a pass over
prompts, what is known of a prompt, and rows that are preempted.

By native kernels every number is the same, in bfloat16 too; by torch the tokens are, in float32.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.worker.inference.conftest import MakeAdapter
from tests.worker.inference.test_engine import VOCAB_SIZE, RecordedRequest
from tests.worker.inference.tiny_model import load_tiny
from worker.inference.adapter_memory import AdapterFiles
from worker.inference.engine import Engine
from worker.inference.llama_decoder import LlamaDecoder
from worker.inference.messages import SamplingParams, Token
from worker.inference.native.library import load_kernels

# Values of a token: its id, and its log-probability, to the last bit.
Answer = list[tuple[int, float]]
SEEDED = SamplingParams(temperature=1, seed=7, top_p=0.9, top_logprobs=0)
GREEDY = SamplingParams(temperature=0, top_logprobs=0)
# Beginnings that several prompts share, of whole blocks and others.
SHARED = [[3 + 7 * n % 250 for n in range(length)] for length in (64, 200)]


@dataclass(frozen=True)
class Setup:
    """An engine's dtype, and whether it has native kernels."""

    dtype: torch.dtype
    is_native: bool
    is_int8: bool = False


SETUPS = {
    "torch-float32": Setup(torch.float32, is_native=False),
    "native-float32": Setup(torch.float32, is_native=True),
    "native-bfloat16": Setup(torch.bfloat16, is_native=True),
    "native-int8": Setup(torch.bfloat16, is_native=True, is_int8=True),
}


@dataclass(frozen=True)
class Asked:
    """A request, and the step in which it arrives."""

    prompt: list[int]
    sampling: SamplingParams
    adapter: AdapterFiles | None
    step: int
    project: str = ""

    def record(self) -> RecordedRequest:
        return RecordedRequest(
            self.prompt,
            sampling=self.sampling,
            adapter=self.adapter,
            project=self.project,
            max_new_tokens=24,
            stop_ids=frozenset(),
        )


@dataclass(frozen=True)
class EngineFactory:
    """Makes engines of one setup that know nothing of earlier prompts."""

    setup: Setup
    base_folder: Path
    kernels_folder: Path

    def make(self, **options: Any) -> Engine:
        kernels = None
        if self.setup.is_native:
            kernels = load_kernels(self.kernels_folder, self.setup.dtype)
            if kernels is None:
                pytest.skip("no C compiler")
        model = load_tiny(self.base_folder).to(self.setup.dtype)
        decoder = LlamaDecoder(
            model, context_length=512, kernels=kernels, is_int8=self.setup.is_int8
        )
        return Engine(decoder, vocab_size=VOCAB_SIZE, **options)


@pytest.fixture(params=SETUPS)
def engines(
    request: pytest.FixtureRequest, base_folder: Path, kernels_folder: Path
) -> EngineFactory:
    return EngineFactory(SETUPS[request.param], base_folder, kernels_folder)


@pytest.fixture
def adapters(adapter: MakeAdapter) -> list[AdapterFiles | None]:
    return [None, adapter("a")[0], adapter("b", r=3)[0]]


def run(engine: Engine, asked: Sequence[Asked]) -> list[Answer]:
    """Answer requests, each of which arrives in its step."""
    recorded = [each.record() for each in asked]
    arriving = sorted(zip(asked, recorded, strict=True), key=lambda pair: pair[0].step)
    step = 0
    while arriving or not engine.is_idle:
        while arriving and arriving[0][0].step <= step:
            engine.submit(arriving.pop(0)[1].request)
        engine.step()
        step += 1
    return [read_answer(each) for each in recorded]


def read_answer(request: RecordedRequest) -> Answer:
    tokens = [event for event in request.events if isinstance(event, Token)]
    assert len(tokens) == request.request.max_new_tokens, request.ends
    return [(t.id, t.logprobs.chosen) for t in tokens if t.logprobs is not None]


def make_traffic(
    chance: random.Random, adapters: Sequence[AdapterFiles | None], count: int
) -> list[Asked]:
    """Make requests of all lengths that arrive at any time, some of which begin alike."""
    asked = []
    for number in range(count):
        own = [chance.randrange(3, 250) for _ in range(chance.choice([1, 5, 63, 64, 65, 150]))]
        asked.append(
            Asked(
                prompt=[*chance.choice([[], *SHARED]), *own],
                sampling=replace(chance.choice([GREEDY, SEEDED]), seed=number),
                adapter=chance.choice(adapters),
                step=chance.randrange(20),
                project=chance.choice(["", "p", "q"]),
            )
        )
    return asked


@pytest.mark.parametrize("case", range(3))
def test_an_answer_is_the_same_alone_and_in_any_traffic(
    engines: EngineFactory, adapters: list[AdapterFiles | None], case: int
) -> None:
    """With fewer rows than requests, some are preempted too."""
    asked = make_traffic(random.Random(case), adapters, 16)
    together = run(engines.make(max_rows=(16, 5, 3)[case]), asked)
    for number, each in enumerate(asked):
        (alone,) = run(engines.make(), [each])
        if engines.setup.is_native:
            assert together[number] == alone, f"request {number}"
        else:
            assert [id for id, _ in together[number]] == [id for id, _ in alone]


def test_a_seeded_request_repeats_in_a_busy_batch(
    engines: EngineFactory, adapters: list[AdapterFiles | None]
) -> None:
    """Eight of eight times, among others that come and go."""
    chance = random.Random(1)
    repeated = Asked([*SHARED[1], 5, 6], SEEDED, adapters[1], step=0)
    asked = [replace(repeated, step=3 * n) for n in range(8)]
    answers = run(engines.make(), [*asked, *make_traffic(chance, adapters, 16)])[:8]
    (alone,) = run(engines.make(), [repeated])
    assert [[id for id, _ in answer] for answer in answers] == [[id for id, _ in alone]] * 8
    assert len({id for id, _ in alone}) > 4, "an answer of few tokens proves little"
