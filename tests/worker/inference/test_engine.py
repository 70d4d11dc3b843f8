"""Continuous batching: scheduling, chunked prefill, log-probabilities, failed steps."""

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from app.errors import InvalidRequest
from tests.worker.inference.conftest import MakeAdapter
from tests.worker.inference.tiny_model import load_tiny
from worker.inference.adapter_memory import AdapterFiles
from worker.inference.decoder import PrefillOutput, PromptChunk
from worker.inference.engine import Engine
from worker.inference.llama_decoder import LlamaDecoder
from worker.inference.lora import LoraWeights
from worker.inference.messages import Event, Failed, Finished, Request, SamplingParams, Token
from worker.inference.prefix_cache import PrefixKeys, PrefixScope
from worker.inference.project_queue import PREFILL_CHUNK_TOKENS
from worker.inference.sampling import Sampler
from worker.inference.step_planning import INTERLEAVED_COST, SHARED_CHUNK_TOKENS

GREEDY = SamplingParams(temperature=0)
# Ids of the tiny tokenizer's special tokens are 0 to 2; 2 ends a turn.
END = 2
VOCAB_SIZE = 263


class RecordedRequest:
    """A request that records its events."""

    def __init__(self, prompt: list[int], **changes: Any) -> None:
        self.events: list[Event] = []
        fields: dict[str, Any] = {
            "prompt": prompt,
            "num_choices": 1,
            "max_new_tokens": 12,
            "stop_ids": frozenset({END}),
            "sampling": GREEDY,
            "adapter": None,
            "emit": self.events.append,
        }
        self.request = Request(**{**fields, **changes})

    def ids(self, choice: int = 0) -> list[int]:
        tokens = [event for event in self.events if isinstance(event, Token)]
        return [token.id for token in tokens if token.choice == choice]

    @property
    def ends(self) -> list[Event]:
        return [event for event in self.events if not isinstance(event, Token)]


@pytest.fixture
def engine(decoder: LlamaDecoder) -> Engine:
    return Engine(decoder, vocab_size=VOCAB_SIZE)


def run_until_idle(engine: Engine, *requests: RecordedRequest) -> None:
    for request in requests:
        engine.submit(request.request)
    while not engine.is_idle:
        engine.step()


def generate(engine: Engine, prompt: list[int], **changes: Any) -> list[int]:
    request = RecordedRequest(prompt, **changes)
    run_until_idle(engine, request)
    return request.ids()


def test_greedy_decoding_equals_transformers(engine: Engine, tiny: PreTrainedModel) -> None:
    prompt = [5, 9, 77]
    with torch.inference_mode():
        expected = tiny.generate(  # type: ignore[operator]
            torch.tensor([prompt]), max_new_tokens=12, do_sample=False, pad_token_id=0
        )
    assert generate(engine, prompt, stop_ids=frozenset()) == expected[0, len(prompt) :].tolist()


class TestBatches:
    def test_batching_does_not_change_the_output(
        self, engine: Engine, adapter: MakeAdapter
    ) -> None:
        files, _ = adapter()
        # Short and long prompts that end at different steps, two of them with an adapter.
        cases = [
            ([5], {"max_new_tokens": 3}),
            ([7] * 40, {"max_new_tokens": 30}),
            ([8, 9], {"max_new_tokens": 17, "adapter": files}),
            ([100, 3, 4], {"max_new_tokens": 1}),
            ([44, 45], {"max_new_tokens": 9, "adapter": files}),
        ]
        expected = [generate(engine, prompt, **changes) for prompt, changes in cases]
        requests = [RecordedRequest(prompt, **changes) for prompt, changes in cases]
        for request in requests:
            engine.submit(request.request)
            engine.step()
            engine.step()
        run_until_idle(engine)
        assert [request.ids() for request in requests] == expected
        assert len({tuple(ids) for ids in expected}) == len(cases)

    def test_all_sequences_progress_together(self, engine: Engine) -> None:
        requests = [RecordedRequest([token], max_new_tokens=50) for token in (5, 6, 7)]
        for request in requests:
            engine.submit(request.request)
        for _ in range(10):
            engine.step()
        counts = [len(request.ids()) for request in requests]
        assert counts == [11, 11, 11], "one prefill for all, then one token per sequence and step"

    def test_prompts_are_read_in_one_pass_up_to_the_limit_of_a_step(
        self, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        passes: list[list[PromptChunk]] = []
        prefill = engine.decoder.prefill

        def record(chunks: Sequence[PromptChunk]) -> list[PrefillOutput]:
            passes.append(list(chunks))
            return prefill(chunks)

        monkeypatch.setattr(engine.decoder, "prefill", record)
        # Random, so that none finds what another has computed.
        prompts = [[3 + (7 * n + 31 * t) % 250 for t in range(100)] for n in range(6)]
        requests = [RecordedRequest(prompt) for prompt in prompts]
        run_until_idle(engine, *requests)
        sizes = [[len(chunk.ids) for chunk in each] for each in passes]
        # Two whole prompts, then less of the others beside the answers.
        assert sizes[0] == [100, 100]
        assert all(sum(each) <= INTERLEAVED_COST + SHARED_CHUNK_TOKENS for each in sizes[1:])
        assert sum(map(sum, sizes)) == 600
        assert sum(chunk.num_logits for each in passes for chunk in each) == 6
        assert [request.ids() for request in requests] == [
            generate(engine, prompt) for prompt in prompts
        ]

    def test_logits_are_computed_only_of_tokens_that_are_sampled(
        self, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows: list[int] = []
        prefill = engine.decoder.prefill

        def count_rows(chunks: Sequence[PromptChunk]) -> list[PrefillOutput]:
            outputs = prefill(chunks)
            rows.append(sum(len(output.logits) for output in outputs))
            return outputs

        monkeypatch.setattr(engine.decoder, "prefill", count_rows)
        long = RecordedRequest([3 + t % 250 for t in range(400)], max_new_tokens=1)
        short = RecordedRequest([5, 6], max_new_tokens=1, num_choices=2)
        run_until_idle(engine, long, short)
        # The long prompt takes two passes, and the short one joins its last one.
        assert rows == [0, 2]

    def test_prompts_that_begin_alike_wait_for_the_first_of_them(self, engine: Engine) -> None:
        prompts = [[*range(3, 131), token] for token in (140, 141, 142)]
        requests = [RecordedRequest(prompt) for prompt in prompts]
        run_until_idle(engine, *requests)
        assert engine.stats.cached_prompt_tokens == 2 * 128
        assert engine.stats.prompt_tokens == 129 + 1 + 1
        assert all(len(request.ids()) == 12 for request in requests)

    def test_more_requests_than_slots(self, engine: Engine) -> None:
        requests = [
            RecordedRequest([5, n], max_new_tokens=3)
            for n in range(3, 3 + 2 * engine.decoder.num_slots)
        ]
        run_until_idle(engine, *requests)
        assert all(request.ends == [Finished(0, "length")] for request in requests)

    def test_a_long_prompt_does_not_block_decoding(self, engine: Engine) -> None:
        short, long = (
            RecordedRequest([5], max_new_tokens=20),
            RecordedRequest([7] * (PREFILL_CHUNK_TOKENS + 50)),
        )
        engine.submit(short.request)
        engine.step()
        before = len(short.ids())
        engine.submit(long.request)
        engine.step()
        assert long.ids() == [], "its prefill is not finished"
        assert len(short.ids()) == before + 1
        run_until_idle(engine)
        assert len(long.ids()) == 12


class TestProjects:
    def test_a53_sharing_the_engine_does_not_change_the_output(
        self, decoder: LlamaDecoder, adapter: MakeAdapter
    ) -> None:
        files, _ = adapter()
        engine = Engine(decoder, vocab_size=VOCAB_SIZE, max_rows=3)
        cases = [
            ([5 + n] * (20 * n + 1), {"max_new_tokens": 10 * n + 5, "stop_ids": frozenset()})
            for n in range(8)
        ]
        expected = [generate(engine, prompt, **changes) for prompt, changes in cases]
        requests = [
            RecordedRequest(prompt, **changes, project=f"p{n % 3}")
            for n, (prompt, changes) in enumerate(cases)
        ]
        tuned = RecordedRequest([8, 9], project="tuned", adapter=files)
        run_until_idle(engine, *requests, tuned)
        assert [request.ids() for request in requests] == expected
        assert tuned.ids() == generate(engine, [8, 9], adapter=files)


class TestEnds:
    def test_length(self, engine: Engine) -> None:
        request = RecordedRequest([5], max_new_tokens=4)
        run_until_idle(engine, request)
        assert len(request.ids()) == 4
        assert request.ends == [Finished(0, "length")]

    def test_the_stop_token_is_not_sent(self, engine: Engine) -> None:
        ids = generate(engine, [5], stop_ids=frozenset())
        # Make the fourth token a stop token.
        first = ids.index(ids[3])
        request = RecordedRequest([5], stop_ids=frozenset({ids[3]}))
        run_until_idle(engine, request)
        assert request.ids() == ids[:first]
        assert request.ends == [Finished(0, "stop")]

    def test_a_stop_token_as_first_token(self, engine: Engine) -> None:
        request = RecordedRequest([5], sampling=SamplingParams(logit_bias={END: 100}))
        run_until_idle(engine, request)
        assert request.events == [Finished(0, "stop")]


class TestChoices:
    def test_choices_differ(self, engine: Engine) -> None:
        request = RecordedRequest(
            [5], num_choices=3, sampling=SamplingParams(seed=1), stop_ids=frozenset()
        )
        run_until_idle(engine, request)
        texts = {tuple(request.ids(choice)) for choice in range(3)}
        assert len(texts) == 3
        assert sorted(map(repr, request.ends)) == [repr(Finished(c, "length")) for c in range(3)]

    def test_a_seed_reproduces_all_choices(self, engine: Engine) -> None:
        requests = [
            RecordedRequest([5], num_choices=2, sampling=SamplingParams(seed=1)) for _ in range(2)
        ]
        run_until_idle(engine, *requests)
        assert [requests[0].ids(c) for c in (0, 1)] == [requests[1].ids(c) for c in (0, 1)]

    def test_greedy_choices_are_equal(self, engine: Engine) -> None:
        request = RecordedRequest([5], num_choices=2)
        run_until_idle(engine, request)
        assert request.ids(0) == request.ids(1) == generate(engine, [5])


class TestAbort:
    def test_abort_in_every_state(self, engine: Engine) -> None:
        running, staged, waiting = (
            RecordedRequest([5]),
            RecordedRequest([7] * 500),
            RecordedRequest([6]),
        )
        for request in (running, staged, waiting):
            engine.submit(request.request)
        engine.step()
        assert engine.stats.running_requests == 2
        assert engine.stats.waiting_requests == 1
        for request in (running, staged, waiting):
            engine.abort(request.request)
        assert engine.is_idle
        assert engine.stats.running_requests == 0
        assert [request.ends for request in (running, staged, waiting)] == [[], [], []]

    def test_abort_does_not_affect_others(self, engine: Engine) -> None:
        expected = generate(engine, [8, 9])
        leaving, staying = RecordedRequest([5, 6, 7], num_choices=2), RecordedRequest([8, 9])
        engine.submit(leaving.request)
        engine.submit(staying.request)
        for _ in range(4):
            engine.step()
        engine.abort(leaving.request)
        run_until_idle(engine)
        assert staying.ids() == expected

    def test_abort_of_one_choice(self, engine: Engine) -> None:
        request = RecordedRequest([5], num_choices=2)
        engine.submit(request.request)
        engine.step()
        engine.abort(request.request, 0)
        run_until_idle(engine)
        assert request.ends == [Finished(1, "length")]


class FaultyDecoder(LlamaDecoder):
    """Raises on one token, and returns NaN logits after another."""

    bad_token = 250
    mute_token = 251

    def prefill(self, chunks: Sequence[PromptChunk]) -> list[PrefillOutput]:
        if any(self.bad_token in chunk.ids for chunk in chunks):
            raise RuntimeError("broken prompt")
        return super().prefill(chunks)

    def decode(
        self, slots: Sequence[int], tokens: Sequence[int], positions: Sequence[int]
    ) -> Tensor:
        if self.bad_token in tokens:
            raise RuntimeError("broken step")
        logits = super().decode(slots, tokens, positions)
        logits[[token == self.mute_token for token in tokens]] = float("nan")
        return logits


WITHOUT_FAULTS = SamplingParams(
    temperature=0, logit_bias={FaultyDecoder.bad_token: -100, FaultyDecoder.mute_token: -100}
)


class TestA63Eviction:
    """Nothing of a deleted model stays in memory: weights, or keys and values of its prompts."""

    def count_weights(self) -> int:
        gc.collect()
        return sum(type(item) is LoraWeights for item in gc.get_objects())

    def is_erased(self, decoder: LlamaDecoder) -> bool:
        cache = decoder._cache
        return not any(tensor.any() for tensor in (*cache.keys, *cache.values))

    def knows_prompt(self, decoder: LlamaDecoder, adapter: AdapterFiles, prompt: list[int]) -> bool:
        keys = PrefixKeys.of(PrefixScope("", adapter.prefix), prompt)
        return bool(decoder._prefixes.find(keys, 0, len(keys.blocks)))

    def test_a63_an_idle_adapter_is_erased(
        self, engine: Engine, decoder: LlamaDecoder, adapter: MakeAdapter
    ) -> None:
        files, _ = adapter()
        prompt = [5, 6] * 40
        run_until_idle(engine, *(RecordedRequest(prompt, adapter=files) for _ in range(3)))
        before = self.count_weights()
        assert before
        assert self.is_erased(decoder)
        assert self.knows_prompt(decoder, files, prompt)
        engine.evict(files)
        assert self.count_weights() == before - 1
        assert not self.knows_prompt(decoder, files, prompt)

    def test_a63_a_row_that_moves_leaves_nothing_of_the_longer_one(
        self, engine: Engine, decoder: LlamaDecoder
    ) -> None:
        long, short = RecordedRequest([5, 6] * 100, max_new_tokens=6), RecordedRequest([7, 8])
        for request in (long, short):
            engine.submit(request.request)
        while len(long.ids()) < 6:
            engine.step()
        (row,) = engine.scheduler.running
        written = decoder._cache.keys[0][row.slot].ne(0).any(dim=-1).any(dim=0)
        assert int(written.sum()) == row.length

    def test_a63_the_prompt_of_an_adapter_out_of_memory_is_not_kept(
        self, engine: Engine, decoder: LlamaDecoder, adapter: MakeAdapter
    ) -> None:
        files, _ = adapter()
        prompt = [5, 6] * 40
        request = RecordedRequest(prompt, adapter=files)
        engine.submit(request.request)
        # Dropped for others while a sequence uses it, as when memory for adapters is short.
        engine.scheduler.admit()
        (queue,) = engine.scheduler._projects.values()
        (prefill,) = queue.prefills
        decoder.begin_prefill(prefill.slot, files)
        decoder._adapters.discard(files)
        keys = PrefixKeys.of(PrefixScope("", files.prefix), prompt)
        decoder.save_prefix(prefill.slot, keys, 0, len(prompt))
        assert not self.knows_prompt(decoder, files, prompt)

    def test_a63_an_adapter_in_use_is_erased_after_its_last_request(
        self,
        engine: Engine,
        decoder: LlamaDecoder,
        adapter: MakeAdapter,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        files, _ = adapter()
        prompt = [5, 6] * 40
        monkeypatch.setattr("worker.inference.step_planning.PREFILL_CHUNK_TOKENS", 64)
        expected = generate(engine, prompt, adapter=files, project="other")
        running = RecordedRequest(prompt, adapter=files)
        engine.submit(running.request)
        engine.step()
        assert not running.ids(), "the prompt is computed in one step: evict before its end"
        before = self.count_weights()
        engine.evict(files)
        run_until_idle(engine)
        assert running.ids() == expected
        assert self.count_weights() == before - 1
        assert self.is_erased(decoder)
        assert not self.knows_prompt(decoder, files, prompt)


class TestFailures:
    @pytest.fixture
    def breaking(self, base_folder: Path) -> Engine:
        return Engine(
            FaultyDecoder(load_tiny(base_folder), context_length=512), vocab_size=VOCAB_SIZE
        )

    @pytest.mark.parametrize("token", [FaultyDecoder.bad_token, FaultyDecoder.mute_token])
    def test_a_failing_step_ends_only_the_request_at_fault(
        self, breaking: Engine, token: int
    ) -> None:
        expected = generate(breaking, [8, 9], sampling=WITHOUT_FAULTS)
        forced = SamplingParams(temperature=0, logit_bias={token: 100})
        faulty = RecordedRequest([5], num_choices=2, sampling=forced)
        others = [RecordedRequest([8, 9], sampling=WITHOUT_FAULTS) for _ in range(3)]
        run_until_idle(breaking, others[0], faulty, *others[1:])
        assert len(expected) == 12
        assert [type(end) for end in faulty.ends] == [Failed]
        assert [request.ids() for request in others] == [expected] * 3
        assert breaking.stats.failed_requests == 1

    def test_a_failing_prefill_ends_only_its_request(self, breaking: Engine) -> None:
        faulty, other = (
            RecordedRequest([FaultyDecoder.bad_token]),
            RecordedRequest([8, 9], sampling=WITHOUT_FAULTS),
        )
        run_until_idle(breaking, faulty, other)
        assert isinstance(faulty.events[0], Failed)
        assert faulty.events[0].error.status == 500
        assert other.ends == [Finished(0, "length")]

    def test_an_adapter_that_does_not_fit_is_a_client_error(
        self, engine: Engine, adapter: MakeAdapter
    ) -> None:
        files, _ = adapter(target_modules=["lm_head"])
        request = RecordedRequest([5], adapter=files)
        run_until_idle(engine, request)
        (failed,) = request.events
        assert isinstance(failed, Failed)
        assert isinstance(failed.error, InvalidRequest)

    def test_a_failing_grammar_ends_only_its_request(
        self, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = generate(engine, [7, 8])

        def fail_at_once(sampler: Sampler, _vocab_size: int) -> None:
            if sampler.params.seed is not None:
                raise ValueError("the grammar is broken")

        monkeypatch.setattr(Sampler, "prepare", fail_at_once)
        broken = RecordedRequest([5, 6], sampling=SamplingParams(temperature=0, seed=1))
        other = RecordedRequest([7, 8])
        run_until_idle(engine, broken, other)
        assert isinstance(broken.events[-1], Failed)
        assert other.ids() == expected

    def test_a_missing_adapter_fails_its_request(self, engine: Engine, tmp_path: Path) -> None:
        request = RecordedRequest([5], adapter=AdapterFiles("gone", tmp_path / "gone"))
        run_until_idle(engine, request, other := RecordedRequest([8, 9]))
        assert isinstance(request.events[0], Failed)
        assert other.ends == [Finished(0, "length")]


def test_logprobs_are_the_models_own(engine: Engine, tiny: PreTrainedModel) -> None:
    request = RecordedRequest(
        [5, 6], sampling=SamplingParams(temperature=0, top_logprobs=2), max_new_tokens=3
    )
    run_until_idle(engine, request)
    ids = [5, 6]
    for event in request.events[:3]:
        assert isinstance(event, Token)
        assert event.logprobs is not None
        with torch.inference_mode():
            expected = tiny(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        assert event.logprobs.chosen == pytest.approx(float(expected.max()), abs=1e-4)
        assert event.logprobs.top[0][0] == event.id
        ids.append(event.id)


def test_ids_beyond_the_vocabulary_are_never_sampled(decoder: LlamaDecoder) -> None:
    narrow = Engine(decoder, vocab_size=10)
    request = RecordedRequest(
        [5], sampling=SamplingParams(temperature=2, seed=1), max_new_tokens=40
    )
    run_until_idle(narrow, request)
    assert max(request.ids()) < 10
