from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from app.errors import InvalidRequest
from tests.worker.inference.conftest import MakeAdapter, load_tiny
from worker.inference.adapter_cache import AdapterFiles
from worker.inference.decoder import PrefillOutput
from worker.inference.engine import PREFILL_CHUNK, Engine
from worker.inference.llama import LlamaDecoder
from worker.inference.messages import Event, Failed, Finished, Request, SamplingParams, Token

GREEDY = SamplingParams(temperature=0)
# Ids of the tiny tokenizer's special tokens are 0 to 2; 2 ends a turn.
END = 2
VOCABULARY = 263


class RecordedRequest:
    """A request and what came of it."""

    def __init__(self, prompt: list[int], **changes: Any) -> None:
        self.events: list[Event] = []
        fields: dict[str, Any] = {
            "prompt": prompt,
            "choices": 1,
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
    return Engine(decoder, vocab_size=VOCABULARY)


def finish(engine: Engine, *asked: RecordedRequest) -> None:
    for one in asked:
        engine.submit(one.request)
    while not engine.is_idle:
        engine.step()


def alone(engine: Engine, prompt: list[int], **changes: Any) -> list[int]:
    asked = RecordedRequest(prompt, **changes)
    finish(engine, asked)
    return asked.ids()


def test_greedy_text_is_what_transformers_generates(engine: Engine, tiny: PreTrainedModel) -> None:
    prompt = [5, 9, 77]
    with torch.inference_mode():
        expected = tiny.generate(  # type: ignore[operator]
            torch.tensor([prompt]), max_new_tokens=12, do_sample=False, pad_token_id=0
        )
    assert alone(engine, prompt, stop_ids=frozenset()) == expected[0, len(prompt) :].tolist()


class TestBatches:
    def test_who_joins_and_leaves_says_what_it_says_alone(
        self, engine: Engine, adapter: MakeAdapter
    ) -> None:
        files, _ = adapter()
        # Short and long prompts, ends at different steps, two of them with an adapter.
        cases = [
            ([5], {"max_new_tokens": 3}),
            ([7] * 40, {"max_new_tokens": 30}),
            ([8, 9], {"max_new_tokens": 17, "adapter": files}),
            ([100, 3, 4], {"max_new_tokens": 1}),
            ([44, 45], {"max_new_tokens": 9, "adapter": files}),
        ]
        expected = [alone(engine, prompt, **changes) for prompt, changes in cases]
        asked = [RecordedRequest(prompt, **changes) for prompt, changes in cases]
        for one in asked:
            engine.submit(one.request)
            engine.step()
            engine.step()
        finish(engine)
        assert [one.ids() for one in asked] == expected
        assert len({tuple(ids) for ids in expected}) == len(cases)

    def test_all_make_progress_together(self, engine: Engine) -> None:
        asked = [RecordedRequest([token], max_new_tokens=50) for token in (5, 6, 7)]
        for one in asked:
            engine.submit(one.request)
        for _ in range(10):
            engine.step()
        counts = [len(one.ids()) for one in asked]
        assert counts == [11, 10, 9], "one prompt a step, then a token each a step"

    def test_more_requests_than_rows(self, engine: Engine) -> None:
        asked = [
            RecordedRequest([5, n], max_new_tokens=3)
            for n in range(3, 3 + 2 * engine.decoder.num_slots)
        ]
        finish(engine, *asked)
        assert all(one.ends == [Finished(0, "length")] for one in asked)

    def test_a_long_prompt_does_not_hold_up_the_others(self, engine: Engine) -> None:
        short, long = (
            RecordedRequest([5], max_new_tokens=20),
            RecordedRequest([7] * (PREFILL_CHUNK + 50)),
        )
        engine.submit(short.request)
        engine.step()
        before = len(short.ids())
        engine.submit(long.request)
        engine.step()
        assert long.ids() == [], "a piece of its prompt is missing"
        assert len(short.ids()) == before + 1
        finish(engine)
        assert len(long.ids()) == 12


class TestEnds:
    def test_length(self, engine: Engine) -> None:
        asked = RecordedRequest([5], max_new_tokens=4)
        finish(engine, asked)
        assert len(asked.ids()) == 4
        assert asked.ends == [Finished(0, "length")]

    def test_the_end_of_the_turn_is_not_sent(self, engine: Engine) -> None:
        ids = alone(engine, [5], stop_ids=frozenset())
        # Let the fourth token be what ends a turn.
        first = ids.index(ids[3])
        asked = RecordedRequest([5], stop_ids=frozenset({ids[3]}))
        finish(engine, asked)
        assert asked.ids() == ids[:first]
        assert asked.ends == [Finished(0, "stop")]

    def test_at_the_first_token(self, engine: Engine) -> None:
        asked = RecordedRequest([5], sampling=SamplingParams(logit_bias={END: 100}))
        finish(engine, asked)
        assert asked.events == [Finished(0, "stop")]


class TestChoices:
    def test_each_goes_its_own_way(self, engine: Engine) -> None:
        asked = RecordedRequest(
            [5], choices=3, sampling=SamplingParams(seed=1), stop_ids=frozenset()
        )
        finish(engine, asked)
        texts = {tuple(asked.ids(choice)) for choice in range(3)}
        assert len(texts) == 3
        assert sorted(map(repr, asked.ends)) == [repr(Finished(c, "length")) for c in range(3)]

    def test_a_seed_repeats_all_of_them(self, engine: Engine) -> None:
        asked = [RecordedRequest([5], choices=2, sampling=SamplingParams(seed=1)) for _ in range(2)]
        finish(engine, *asked)
        assert [asked[0].ids(c) for c in (0, 1)] == [asked[1].ids(c) for c in (0, 1)]

    def test_greedy_ones_are_the_same(self, engine: Engine) -> None:
        asked = RecordedRequest([5], choices=2)
        finish(engine, asked)
        assert asked.ids(0) == asked.ids(1) == alone(engine, [5])


class TestAbort:
    def test_in_every_state(self, engine: Engine) -> None:
        running, staged, waiting = (
            RecordedRequest([5]),
            RecordedRequest([7] * (PREFILL_CHUNK + 9)),
            RecordedRequest([6]),
        )
        for one in (running, staged, waiting):
            engine.submit(one.request)
        engine.step()
        engine.step()
        assert engine.counters.running_requests == 2
        for one in (running, staged, waiting):
            engine.abort(one.request)
        assert engine.is_idle
        assert engine.counters.running_requests == 0
        assert [one.ends for one in (running, staged, waiting)] == [[], [], []]

    def test_does_not_disturb_the_others(self, engine: Engine) -> None:
        expected = alone(engine, [8, 9])
        leaving, staying = RecordedRequest([5, 6, 7], choices=2), RecordedRequest([8, 9])
        engine.submit(leaving.request)
        engine.submit(staying.request)
        for _ in range(4):
            engine.step()
        engine.abort(leaving.request)
        finish(engine)
        assert staying.ids() == expected

    def test_of_one_choice(self, engine: Engine) -> None:
        asked = RecordedRequest([5], choices=2)
        engine.submit(asked.request)
        engine.step()
        engine.abort(asked.request, 0)
        finish(engine)
        assert asked.ends == [Finished(1, "length")]


class FaultyDecoder(LlamaDecoder):
    """Fails on one token, wherever it is; gives no numbers for another."""

    bad_token = 250
    mute_token = 251

    def prefill(self, ids: Sequence[int], start: int, *, num_logits: int = 1) -> PrefillOutput:
        if self.bad_token in ids:
            raise RuntimeError("broken prompt")
        return super().prefill(ids, start, num_logits=num_logits)

    def decode(self, first: int, tokens: Sequence[int], positions: Sequence[int]) -> Tensor:
        if self.bad_token in tokens:
            raise RuntimeError("broken step")
        logits = super().decode(first, tokens, positions)
        logits[[token == self.mute_token for token in tokens]] = float("nan")
        return logits


WITHOUT = SamplingParams(
    temperature=0, logit_bias={FaultyDecoder.bad_token: -100, FaultyDecoder.mute_token: -100}
)


class TestFailures:
    @pytest.fixture
    def breaking(self, base_folder: Path) -> Engine:
        return Engine(
            FaultyDecoder(load_tiny(base_folder), context_length=512), vocab_size=VOCABULARY
        )

    @pytest.mark.parametrize("token", [FaultyDecoder.bad_token, FaultyDecoder.mute_token])
    def test_a_step_ends_only_the_request_at_fault(self, breaking: Engine, token: int) -> None:
        expected = alone(breaking, [8, 9], sampling=WITHOUT)
        forced = SamplingParams(temperature=0, logit_bias={token: 100})
        faulty = RecordedRequest([5], choices=2, sampling=forced)
        others = [RecordedRequest([8, 9], sampling=WITHOUT) for _ in range(3)]
        finish(breaking, others[0], faulty, *others[1:])
        assert len(expected) == 12
        assert [type(end) for end in faulty.ends] == [Failed]
        assert [one.ids() for one in others] == [expected] * 3
        assert breaking.counters.failed_requests == 1

    def test_a_prompt_ends_only_its_request(self, breaking: Engine) -> None:
        faulty, other = (
            RecordedRequest([FaultyDecoder.bad_token]),
            RecordedRequest([8, 9], sampling=WITHOUT),
        )
        finish(breaking, faulty, other)
        assert isinstance(faulty.events[0], Failed)
        assert faulty.events[0].error.status == 500
        assert other.ends == [Finished(0, "length")]

    def test_an_adapter_that_does_not_fit_is_the_clients_fault(
        self, engine: Engine, adapter: MakeAdapter
    ) -> None:
        files, _ = adapter(target_modules=["lm_head"])
        asked = RecordedRequest([5], adapter=files)
        finish(engine, asked)
        (failed,) = asked.events
        assert isinstance(failed, Failed)
        assert isinstance(failed.error, InvalidRequest)

    def test_an_adapter_that_is_not_there(self, engine: Engine, tmp_path: Path) -> None:
        asked = RecordedRequest([5], adapter=AdapterFiles("gone", tmp_path / "gone"))
        finish(engine, asked, other := RecordedRequest([8, 9]))
        assert isinstance(asked.events[0], Failed)
        assert other.ends == [Finished(0, "length")]


def test_logprobs_are_those_of_the_model(engine: Engine, tiny: PreTrainedModel) -> None:
    asked = RecordedRequest(
        [5, 6], sampling=SamplingParams(temperature=0, top_logprobs=2), max_new_tokens=3
    )
    finish(engine, asked)
    ids = [5, 6]
    for event in asked.events[:3]:
        assert isinstance(event, Token)
        assert event.logprobs is not None
        with torch.inference_mode():
            expected = tiny(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        assert event.logprobs.chosen == pytest.approx(float(expected.max()), abs=1e-4)
        assert event.logprobs.top[0][0] == event.id
        ids.append(event.id)


def test_ids_that_the_tokenizer_does_not_know_are_never_chosen(decoder: LlamaDecoder) -> None:
    narrow = Engine(decoder, vocab_size=10)
    asked = RecordedRequest([5], sampling=SamplingParams(temperature=2, seed=1), max_new_tokens=40)
    finish(narrow, asked)
    assert max(asked.ids()) < 10
