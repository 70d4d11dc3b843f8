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
    PrefixKeys,
    PrefixScope,
)

__all__ = ["engine"]

SCOPE = PrefixScope("project", "adapter")
SYSTEM = [7 + n * 13 % 200 for n in range(3 * BLOCK_TOKENS)]


def read(index: int) -> list[Tensor]:
    return [torch.tensor([index])]


def add(cache: PrefixCache, ids: list[int], scope: PrefixScope = SCOPE) -> None:
    keys = PrefixKeys.of(scope, ids)
    cache.add(keys, 0, len(keys.blocks), read)
    cache.touch(keys)


def find(
    cache: PrefixCache, ids: list[int], scope: PrefixScope = SCOPE, first: int = 0
) -> list[int]:
    """Return the indexes of the blocks found."""
    keys = PrefixKeys.of(scope, ids)
    found = cache.find(keys, first, len(keys.blocks))
    return [int(tensor) for block in found for tensor in block]


class TestBlocks:
    def test_the_longest_known_beginning_is_found(self) -> None:
        cache = PrefixCache(10 * BLOCK_TOKENS)
        add(cache, [*SYSTEM, 1])
        assert find(cache, [*SYSTEM, 2, 3]) == [0, 1, 2]
        assert find(cache, SYSTEM[:BLOCK_TOKENS] + [9] * 200) == [0]
        assert find(cache, [9, *SYSTEM]) == []

    def test_a_block_after_other_tokens_is_another_block(self) -> None:
        cache = PrefixCache(10 * BLOCK_TOKENS)
        add(cache, [1] * BLOCK_TOKENS + [2] * BLOCK_TOKENS)
        assert find(cache, [2] * BLOCK_TOKENS) == []

    @pytest.mark.parametrize(
        "other", [PrefixScope("other", "adapter"), PrefixScope("project", None)], ids=str
    )
    def test_other_projects_and_adapters_find_nothing(self, other: PrefixScope) -> None:
        cache = PrefixCache(10 * BLOCK_TOKENS)
        add(cache, SYSTEM)
        assert find(cache, SYSTEM, other) == []

    def test_known_blocks_are_not_read_again(self) -> None:
        cache = PrefixCache(10 * BLOCK_TOKENS)
        add(cache, SYSTEM[: 2 * BLOCK_TOKENS])
        indexes: list[int] = []
        keys = PrefixKeys.of(SCOPE, SYSTEM)
        cache.add(keys, 0, 3, lambda index: indexes.append(index) or read(index))  # type: ignore[func-returns-value]
        assert indexes == [2]

    def test_the_end_of_the_least_recently_used_prompt_is_forgotten_first(self) -> None:
        cache = PrefixCache(4 * BLOCK_TOKENS)
        old, new = [1] * 2 * BLOCK_TOKENS, [2] * 2 * BLOCK_TOKENS
        add(cache, old)
        add(cache, new)
        find(cache, old)
        add(cache, [3] * BLOCK_TOKENS)
        assert [len(find(cache, ids)) for ids in (old, new)] == [2, 1]

    def test_a_prompt_longer_than_the_cache_keeps_its_beginning(self) -> None:
        cache = PrefixCache(2 * BLOCK_TOKENS)
        add(cache, SYSTEM)
        assert find(cache, SYSTEM) == [0, 1]

    def test_a_prompt_in_chunks_keeps_its_beginning_longest(self) -> None:
        cache = PrefixCache(3 * BLOCK_TOKENS)
        keys = PrefixKeys.of(SCOPE, SYSTEM)
        for index in range(3):
            cache.add(keys, index, index + 1, read)
        cache.touch(keys)
        add(cache, [9] * BLOCK_TOKENS)
        assert find(cache, SYSTEM) == [0, 1]

    def test_a_project_does_not_push_out_the_share_of_others(self) -> None:
        cache = PrefixCache(6 * BLOCK_TOKENS)
        other = PrefixScope("other", None)
        add(cache, SYSTEM, other)
        for token in range(20):
            add(cache, [token] * 2 * BLOCK_TOKENS)
        assert find(cache, SYSTEM, other) == [0, 1, 2]
        assert find(cache, [19] * 2 * BLOCK_TOKENS) == [0, 1]

    def test_a_prompt_longer_than_the_share_of_its_project_keeps_its_beginning(self) -> None:
        cache = PrefixCache(6 * BLOCK_TOKENS)
        add(cache, SYSTEM, PrefixScope("other", None))
        add(cache, [5] * 5 * BLOCK_TOKENS)
        assert find(cache, [5] * 5 * BLOCK_TOKENS) == [0, 1, 2]

    def test_blocks_are_forgotten_after_a_while(self) -> None:
        now = 0.0
        cache = PrefixCache(10 * BLOCK_TOKENS, clock=lambda: now)
        add(cache, SYSTEM)
        now = MAX_IDLE_SECONDS
        assert find(cache, SYSTEM[:BLOCK_TOKENS])
        now += 1
        assert find(cache, SYSTEM) == [0]

    def test_a_long_beginning_is_found_in_pieces(self) -> None:
        cache = PrefixCache(100 * BLOCK_TOKENS)
        ids = SYSTEM * 5
        add(cache, ids)
        first = find(cache, ids)
        assert len(first) == MAX_BLOCKS_FOUND
        assert [*first, *find(cache, ids, first=len(first))] == list(range(15))

    def test_a_deleted_adapter_is_forgotten(self) -> None:
        cache = PrefixCache(10 * BLOCK_TOKENS)
        base = PrefixScope("project", None)
        add(cache, SYSTEM)
        add(cache, SYSTEM, base)
        cache.discard("adapter")
        assert find(cache, SYSTEM) == []
        assert len(find(cache, SYSTEM, base)) == 3


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

    def test_the_tokens_of_a_prompt_are_hashed_once(
        self, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("worker.inference.step_planning.PREFILL_CHUNK_TOKENS", 64)
        hashed: list[int] = []
        of = PrefixKeys.of

        def count(scope: PrefixScope, ids: list[int]) -> PrefixKeys:
            hashed.append(len(ids))
            return of(scope, ids)

        monkeypatch.setattr(PrefixKeys, "of", count)
        run_until_idle(engine, RecordedRequest([3] * 400))
        assert hashed == [400]

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
