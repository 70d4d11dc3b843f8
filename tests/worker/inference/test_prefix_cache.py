"""Prefix caching: prompts that begin alike are computed once, per project and adapter."""

import pytest
import torch
from torch import Tensor

from tests.worker.inference.conftest import MakeAdapter
from tests.worker.inference.test_engine import RecordedRequest, engine, run_until_idle
from worker.inference.engine import Engine
from worker.inference.llama_decoder import LlamaDecoder
from worker.inference.messages import PrefixReused, PromptLogprobs
from worker.inference.prefix_cache import (
    BLOCK_TOKENS,
    MAX_BLOCKS_FOUND,
    MAX_IDLE_SECONDS,
    PrefixCache,
    PrefixScope,
)

__all__ = ["engine"]

SCOPE = PrefixScope("project", "adapter")
SYSTEM = [7 + n * 13 % 200 for n in range(3 * BLOCK_TOKENS)]


def read(start: int) -> list[Tensor]:
    return [torch.tensor([start])]


def positions(blocks: list[list[Tensor]]) -> list[int]:
    return [int(tensor) for block in blocks for tensor in block]


class TestBlocks:
    def test_the_longest_known_beginning_is_found(self) -> None:
        cache = PrefixCache(10 * BLOCK_TOKENS)
        cache.add(SCOPE, [*SYSTEM, 1], read)
        assert positions(cache.find(SCOPE, [*SYSTEM, 2, 3])) == [0, 64, 128]
        assert positions(cache.find(SCOPE, SYSTEM[:BLOCK_TOKENS] + [9] * 200)) == [0]
        assert cache.find(SCOPE, [9, *SYSTEM]) == []

    def test_a_block_after_other_tokens_is_another_block(self) -> None:
        cache = PrefixCache(10 * BLOCK_TOKENS)
        cache.add(SCOPE, [1] * BLOCK_TOKENS + [2] * BLOCK_TOKENS, read)
        assert len(cache.find(SCOPE, [2] * BLOCK_TOKENS)) == 0

    @pytest.mark.parametrize(
        "other", [PrefixScope("other", "adapter"), PrefixScope("project", None)], ids=str
    )
    def test_other_projects_and_adapters_find_nothing(self, other: PrefixScope) -> None:
        cache = PrefixCache(10 * BLOCK_TOKENS)
        cache.add(SCOPE, SYSTEM, read)
        assert cache.find(other, SYSTEM) == []

    def test_known_blocks_are_not_read_again(self) -> None:
        cache = PrefixCache(10 * BLOCK_TOKENS)
        cache.add(SCOPE, SYSTEM[: 2 * BLOCK_TOKENS], read)
        starts: list[int] = []
        cache.add(SCOPE, SYSTEM, lambda start: starts.append(start) or read(start))  # type: ignore[func-returns-value]
        assert starts == [2 * BLOCK_TOKENS]

    def test_the_end_of_the_least_recently_used_prompt_is_forgotten_first(self) -> None:
        cache = PrefixCache(4 * BLOCK_TOKENS)
        old, new = [1] * 2 * BLOCK_TOKENS, [2] * 2 * BLOCK_TOKENS
        cache.add(SCOPE, old, read)
        cache.add(SCOPE, new, read)
        cache.find(SCOPE, old)
        cache.add(SCOPE, [3] * BLOCK_TOKENS, read)
        assert [len(cache.find(SCOPE, ids)) for ids in (old, new)] == [2, 1]

    def test_a_prompt_longer_than_the_cache_keeps_its_beginning(self) -> None:
        cache = PrefixCache(2 * BLOCK_TOKENS)
        cache.add(SCOPE, SYSTEM, read)
        assert positions(cache.find(SCOPE, SYSTEM)) == [0, BLOCK_TOKENS]

    def test_blocks_are_forgotten_after_a_while(self) -> None:
        now = 0.0
        cache = PrefixCache(10 * BLOCK_TOKENS, clock=lambda: now)
        cache.add(SCOPE, SYSTEM, read)
        now = MAX_IDLE_SECONDS
        assert cache.find(SCOPE, SYSTEM[:BLOCK_TOKENS])
        now += 1
        assert len(cache.find(SCOPE, SYSTEM)) == 1

    def test_a_long_beginning_is_found_in_pieces(self) -> None:
        cache = PrefixCache(100 * BLOCK_TOKENS)
        ids = SYSTEM * 5
        cache.add(SCOPE, ids, read)
        first = cache.find(SCOPE, ids)
        assert len(first) == MAX_BLOCKS_FOUND
        rest = cache.find(SCOPE, ids, len(first) * BLOCK_TOKENS)
        assert positions([*first, *rest]) == list(range(0, len(ids), BLOCK_TOKENS))
        assert cache.find(SCOPE, ids, 1) == []

    def test_a_deleted_adapter_is_forgotten(self) -> None:
        cache = PrefixCache(10 * BLOCK_TOKENS)
        base = PrefixScope("project", None)
        cache.add(SCOPE, SYSTEM, read)
        cache.add(base, SYSTEM, read)
        cache.discard("adapter")
        assert cache.find(SCOPE, SYSTEM) == []
        assert len(cache.find(base, SYSTEM)) == 3


def reused(request: RecordedRequest) -> int:
    return sum(event.num_tokens for event in request.events if isinstance(event, PrefixReused))


class TestEngine:
    @pytest.mark.parametrize("with_adapter", [False, True])
    def test_a_reused_prefix_gives_the_same_answer(
        self, engine: Engine, adapter: MakeAdapter, with_adapter: bool
    ) -> None:
        files = adapter()[0] if with_adapter else None
        prompt = [*SYSTEM, 5, 9]
        alone = RecordedRequest(prompt, adapter=files, project="alone")
        first = RecordedRequest([*SYSTEM, 8], adapter=files)
        second = RecordedRequest(prompt, adapter=files, num_choices=2)
        for request in (alone, first, second):
            run_until_idle(engine, request)
        assert [reused(request) for request in (alone, first, second)] == [0, 0, len(SYSTEM)]
        assert second.ids(0) == second.ids(1) == alone.ids()
        assert engine.stats.cached_prompt_tokens == len(SYSTEM)

    def test_a_prefix_of_several_chunks_is_reused(self, engine: Engine) -> None:
        prompt = [7 + n * 31 % 200 for n in range(500)]
        first, again = RecordedRequest(prompt), RecordedRequest(prompt)
        run_until_idle(engine, first)
        run_until_idle(engine, again)
        assert reused(again) == 448
        assert again.ids() == first.ids()

    def test_the_last_token_is_always_computed(self, engine: Engine) -> None:
        first, again = RecordedRequest(SYSTEM), RecordedRequest(SYSTEM)
        run_until_idle(engine, first)
        run_until_idle(engine, again)
        assert reused(again) == 2 * BLOCK_TOKENS
        assert again.ids() == first.ids()

    def test_log_probabilities_of_the_prompt_need_every_token(self, engine: Engine) -> None:
        run_until_idle(engine, RecordedRequest(SYSTEM))
        request = RecordedRequest(SYSTEM, prompt_logprobs=True)
        run_until_idle(engine, request)
        events = [event for event in request.events if isinstance(event, PromptLogprobs)]
        assert sum(len(event.tokens) for event in events) == len(SYSTEM)
        assert reused(request) == 0

    def test_an_adapter_does_not_read_what_the_base_model_computed(
        self, engine: Engine, decoder: LlamaDecoder, adapter: MakeAdapter
    ) -> None:
        files, _ = adapter()
        run_until_idle(engine, RecordedRequest(SYSTEM))
        tuned = RecordedRequest(SYSTEM, adapter=files)
        run_until_idle(engine, tuned)
        assert reused(tuned) == 0
