"""Speculative decoding by prompt lookup: the same answers in fewer steps."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.worker.inference.test_engine import VOCAB_SIZE, RecordedRequest, run_until_idle
from worker.inference.engine import Engine
from worker.inference.llama_decoder import LlamaDecoder
from worker.inference.messages import SamplingParams, Token
from worker.inference.native.library import Kernels, load_kernels
from worker.inference.speculation import MAX_DRAFT_TOKENS, MAX_STEP_ROWS, PromptLookup

REPETITIVE = [5, 9, 77, 30, 31] * 8
# A model of random weights repeats itself if it has few tokens to choose from.
FEW_TOKENS = {40: 60.0, 41: 60.0}
NEW = [(7 * n) % 250 + 3 for n in range(40)]


class CountingDecoder(LlamaDecoder):
    """Counts the rows of each step."""

    def __init__(self, model: PreTrainedModel, kernels: Kernels) -> None:
        super().__init__(model, context_length=512, kernels=kernels)
        self.rows: list[int] = []

    def decode(
        self, slots: Sequence[int], tokens: Sequence[int], positions: Sequence[int]
    ) -> Tensor:
        self.rows.append(len(slots))
        return super().decode(slots, tokens, positions)


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=str)
def engines(
    request: pytest.FixtureRequest,
    native_kernels: Kernels,
    tiny: PreTrainedModel,
    kernels_folder: Any,
) -> list[Engine]:
    """An engine that decodes token by token, and one that takes drafts."""
    kernels = load_kernels(kernels_folder, request.param)
    assert kernels is not None
    model = copy.deepcopy(tiny).to(request.param)
    return [
        Engine(CountingDecoder(model, kernels), vocab_size=VOCAB_SIZE, speculative_decoding=each)
        for each in (False, True)
    ]


def answer(engine: Engine, prompts: Sequence[list[int]], **changes: Any) -> list[list[Any]]:
    requests = [RecordedRequest(prompt, max_new_tokens=60, **changes) for prompt in prompts]
    run_until_idle(engine, *requests)
    return [request.events for request in requests]


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingParams(temperature=0, top_logprobs=2, logit_bias=FEW_TOKENS),
        SamplingParams(temperature=1, seed=3, top_p=0.9, logit_bias=FEW_TOKENS),
        SamplingParams(temperature=0, frequency_penalty=2, logit_bias=FEW_TOKENS),
    ],
    ids=["greedy", "seeded", "penalties"],
)
@pytest.mark.parametrize("prompts", [[REPETITIVE], [REPETITIVE, NEW]], ids=["one", "two"])
def test_answers_are_those_without_drafts(
    engines: list[Engine], sampling: SamplingParams, prompts: list[list[int]]
) -> None:
    by_token, with_drafts = (answer(engine, prompts, sampling=sampling) for engine in engines)
    assert with_drafts == by_token
    stats = engines[1].stats
    assert 0 < stats.accepted_draft_tokens < stats.draft_tokens


def test_a_repetitive_answer_takes_fewer_steps(engines: list[Engine]) -> None:
    for engine in engines:
        answer(engine, [REPETITIVE], sampling=SamplingParams(temperature=0, logit_bias={40: 99.0}))
    by_token, with_drafts = (engine.decoder.rows for engine in engines)  # type: ignore[attr-defined]
    stats = engines[1].stats
    assert len(with_drafts) < len(by_token) / 2
    assert 0 < stats.accepted_draft_tokens <= stats.draft_tokens
    assert len(with_drafts) + stats.accepted_draft_tokens == len(by_token)


def test_drafts_leave_room_for_other_rows(engines: list[Engine]) -> None:
    engine = engines[1]
    answer(engine, [REPETITIVE] * (MAX_STEP_ROWS - 1))
    assert max(engine.decoder.rows) <= MAX_STEP_ROWS  # type: ignore[attr-defined]
    assert not engine.stats.draft_tokens


def test_a_draft_does_not_pass_the_limit_of_tokens(engines: list[Engine]) -> None:
    for limit in (2, 3, 5, 8):
        (events,) = answer_within(engines[1], limit)
        assert sum(isinstance(event, Token) for event in events) == limit


def answer_within(engine: Engine, limit: int) -> list[list[Any]]:
    request = RecordedRequest(REPETITIVE, max_new_tokens=limit, stop_ids=frozenset())
    run_until_idle(engine, request)
    return [request.events]


class TestLookup:
    def test_a_draft_is_what_followed_the_last_tokens(self) -> None:
        lookup = PromptLookup([1, 2, 3, 4, 5, 6, 7, 9, 1, 2])
        assert not lookup.propose(7)
        lookup.append(3)
        assert list(lookup.propose(2)) == [4, 5]

    def test_a_short_period_is_repeated(self) -> None:
        lookup = PromptLookup([8, 1, 2, 1, 2, 1])
        assert list(lookup.propose(3)) == [2, 1, 2]

    def test_the_latest_occurrence_counts(self) -> None:
        lookup = PromptLookup([1, 2, 3, 4, 0, 1, 2, 3, 5, 0, 1, 2, 3])
        assert list(lookup.propose(1)) == [5]

    def test_right_drafts_get_longer_and_wrong_ones_pause(self) -> None:
        lookup = PromptLookup([1, 2, 3, 4] * 9)
        first = len(lookup.propose(99))
        lookup.count_accepted(first, first)
        longer = len(lookup.propose(99))
        assert first < longer <= MAX_DRAFT_TOKENS
        lookup.count_accepted(0, longer)
        assert not lookup.propose(99)
        assert len(lookup.propose(99)) == 1

    def test_a_long_prompt_is_indexed_over_several_steps(self) -> None:
        lookup = PromptLookup([*range(5000), 4000, 4001, 4002])
        found = [lookup.propose(1) for _ in range(6)]
        assert not found[0]
        assert list(found[-1]) == [4003]
