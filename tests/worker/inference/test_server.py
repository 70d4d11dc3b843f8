"""The engine over HTTP, driven by the official SDK, with a model of endless output."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from openai import APIError, NotFoundError, OpenAI
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.parser import text_string_to_metric_families

from app.catalog import CatalogModel
from scripts.reference.metrics import engine_series
from tests.polling import wait_until
from tests.worker.inference.running_engine import (
    END,
    HELLO,
    LONG_CONTEXT,
    TUNED_MODEL,
    EngineClient,
    catalog_entry,
    running_engine,
    store_adapter,
)


class TestResponse:
    def test_the_response_has_openais_shape(self, engine: EngineClient) -> None:
        body = {"model": "tiny", "messages": HELLO, "temperature": 0, "max_tokens": 5}
        response = engine.http("POST", "/v1/chat/completions", json=body).json()
        assert response["id"].startswith("chatcmpl-")
        assert response["object"] == "chat.completion"
        (choice,) = response["choices"]
        assert choice["logprobs"] is None
        assert choice["message"].keys() == {"role", "content", "refusal", "annotations"}
        assert response["service_tier"] == "default"
        assert response["system_fingerprint"].startswith("fp_")
        assert choice["message"]["role"] == "assistant"
        assert choice["message"]["refusal"] is None

    def test_tokens_of_a_known_beginning_are_counted_as_cached(
        self, greedy: Callable[..., Any]
    ) -> None:
        system = {"role": "system", "content": "Answer in one word, never with a question. " * 4}
        first, second = (
            greedy(messages=[system, {"role": "user", "content": text}]).usage
            for text in ("yes", "no")
        )
        assert first.prompt_tokens_details.cached_tokens == 0
        assert 64 <= second.prompt_tokens_details.cached_tokens < second.prompt_tokens

    def test_length_and_usage(self, greedy: Callable[..., Any]) -> None:
        response = greedy(max_tokens=7)
        assert response.model == "tiny"
        assert response.choices[0].finish_reason == "length"
        assert response.usage.completion_tokens == 7
        assert response.usage.prompt_tokens > 5
        assert response.usage.total_tokens == response.usage.prompt_tokens + 7

    def test_a_stop_token_ends_the_response(self, greedy: Callable[..., Any]) -> None:
        response = greedy(logit_bias={END: 100})
        assert response.choices[0].finish_reason == "stop"
        assert response.choices[0].message.content == ""
        assert response.usage.completion_tokens == 0

    def test_the_response_names_the_alias(self, greedy: Callable[..., Any]) -> None:
        response = greedy(model="gpt-4o-mini")
        assert response.model == "gpt-4o-mini"
        assert response.choices[0].message.content == greedy().choices[0].message.content

    def test_content_parts_and_developer_role(self, greedy: Callable[..., Any]) -> None:
        def ask(*messages: dict[str, Any]) -> str:
            return str(greedy(messages=messages).choices[0].message.content)

        system = {"role": "system", "content": "Be brief."}
        parts = [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]
        developer = {"role": "developer", "content": "Be brief."}
        assert ask(system, HELLO[0]) == ask(developer, {"role": "user", "content": parts})
        assert ask(system, HELLO[0]) != ask(system, HELLO[0], system)

    def test_a_stop_string(self, greedy: Callable[..., Any]) -> None:
        complete = greedy(max_tokens=30).choices[0].message.content
        stop = complete[4:7]
        response = greedy(max_tokens=30, stop=[stop, "never said"])
        assert response.choices[0].message.content == complete.partition(stop)[0]
        assert response.choices[0].finish_reason == "stop"
        assert response.usage.completion_tokens < 30

    def test_choices_and_seeds(self, greedy: Callable[..., Any]) -> None:
        def ask(seed: int) -> list[str]:
            response = greedy(temperature=1, seed=seed, n=3)
            assert [choice.index for choice in response.choices] == [0, 1, 2]
            assert response.usage.completion_tokens == 60
            return [choice.message.content for choice in response.choices]

        assert ask(1) == ask(1)
        assert len(set(ask(1) + ask(2))) == 6

    def test_logprobs(self, greedy: Callable[..., Any]) -> None:
        choice = greedy(logprobs=True, top_logprobs=3).choices[0]
        tokens = choice.logprobs.content
        assert len(tokens) == 20
        assert b"".join(bytes(t.bytes) for t in tokens).decode(errors="replace") == (
            choice.message.content
        )
        for token in tokens:
            assert len(token.top_logprobs) == 3
            assert token.top_logprobs[0].logprob >= token.top_logprobs[1].logprob
        assert greedy(logprobs=True).choices[0].logprobs.content[0].top_logprobs == []

    def test_concurrent_clients_get_their_own_responses(self, greedy: Callable[..., Any]) -> None:
        def ask(word: str) -> str:
            messages = [{"role": "user", "content": word}]
            return str(greedy(messages=messages).choices[0].message.content)

        words = [f"word {n}" for n in range(12)]
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(ask, words))
        assert all(answers)
        assert len(set(answers)) > 1


class TestStream:
    def test_stream_chunks(self, greedy: Callable[..., Any]) -> None:
        complete = greedy()
        chunks = list(greedy(stream=True, stream_options={"include_usage": True}))
        assert len({(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks}) == 1
        first, *middle, last, usage = chunks
        assert first.choices[0].delta.model_dump(exclude_unset=True) == {
            "role": "assistant",
            "content": "",
            "refusal": None,
        }
        text = "".join(chunk.choices[0].delta.content for chunk in middle)
        assert text == complete.choices[0].message.content
        assert {chunk.choices[0].finish_reason for chunk in (first, *middle)} == {None}
        assert last.choices[0].delta.model_dump(exclude_unset=True) == {}
        assert last.choices[0].finish_reason == "length"
        assert usage.choices == []
        assert usage.usage == complete.usage

    def test_stream_wire_format(self, engine: EngineClient) -> None:
        body = {"model": "tiny", "messages": HELLO, "max_tokens": 4, "stream": True}
        response = engine.http("POST", "/v1/chat/completions", json=body)
        assert response.headers["content-type"].startswith("text/event-stream")
        *events, done, rest = response.text.split("\n\n")
        assert (done, rest) == ("data: [DONE]", "")
        for event in events:
            chunk = json.loads(event.removeprefix("data: "))
            assert "usage" not in chunk, "usage was not requested"
            assert chunk["choices"][0].keys() == {"index", "delta", "logprobs", "finish_reason"}

    def test_usage_is_null_until_the_last_chunk(self, engine: EngineClient) -> None:
        body = {"model": "tiny", "messages": HELLO, "max_tokens": 4, "stream": True}
        body["stream_options"] = {"include_usage": True}
        response = engine.http("POST", "/v1/chat/completions", json=body)
        events = [json.loads(e.removeprefix("data: ")) for e in response.text.split("\n\n")[:-2]]
        assert [event["usage"] is None for event in events] == [True] * (len(events) - 1) + [False]

    def test_choices_and_logprobs(self, greedy: Callable[..., Any]) -> None:
        complete = greedy(n=2, logprobs=True, top_logprobs=1, temperature=1, seed=3)
        texts, tokens = {0: "", 1: ""}, {0: 0, 1: 0}
        for chunk in greedy(n=2, logprobs=True, top_logprobs=1, temperature=1, seed=3, stream=True):
            (choice,) = chunk.choices
            texts[choice.index] += choice.delta.content or ""
            tokens[choice.index] += len(choice.logprobs.content) if choice.logprobs else 0
        assert texts == {choice.index: choice.message.content for choice in complete.choices}
        assert tokens == {0: 20, 1: 20}

    def test_a_stop_string(self, greedy: Callable[..., Any]) -> None:
        complete = greedy(max_tokens=30).choices[0].message.content
        chunks = list(greedy(max_tokens=30, stop=complete[4:7], stream=True))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert text == complete.partition(complete[4:7])[0]
        assert chunks[-1].choices[0].finish_reason == "stop"


class TestDisconnect:
    def test_disconnecting_from_a_stream_stops_generation(
        self, engine: EngineClient, greedy: Callable[..., Any]
    ) -> None:
        stream = greedy(stream=True, max_tokens=LONG_CONTEXT - 1000)
        for _ in range(3):
            next(iter(stream))
        assert engine.metric("running_requests") == 1
        stream.close()
        wait_until("nothing runs", lambda: engine.metric("running_requests") == 0)

    def test_disconnecting_before_the_response_stops_generation(
        self, engine: EngineClient, client: OpenAI
    ) -> None:
        with pytest.raises(APIError):
            client.with_options(timeout=1).chat.completions.create(
                model="tiny",
                messages=HELLO,
                logit_bias={END: -100},
                max_tokens=LONG_CONTEXT - 1000,
            )
        wait_until("nothing runs", lambda: engine.metric("running_requests") == 0)
        assert engine.metric("generated_tokens_total") < LONG_CONTEXT


class TestAdapters:
    def test_a_loaded_adapter_changes_the_response(
        self, engine: EngineClient, greedy: Callable[..., Any]
    ) -> None:
        assert engine.load_adapter().status_code == 200
        assert engine.load_adapter().status_code == 200, "loading it again is a no-op"
        tuned, base = greedy(model=TUNED_MODEL), greedy()
        assert tuned.model == TUNED_MODEL
        assert tuned.choices[0].message.content != base.choices[0].message.content
        listed = engine.http("GET", "/v1/models").json()
        assert [model["id"] for model in listed["data"]] == [
            "tiny",
            "short",
            "brief",
            "broken",
            TUNED_MODEL,
        ]

    def test_base_and_tuned_models_are_served_concurrently(
        self, engine: EngineClient, greedy: Callable[..., Any]
    ) -> None:
        engine.load_adapter()
        names = ["tiny", TUNED_MODEL] * 4
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda name: greedy(model=name).model, names))
        assert together == names

    def test_an_unloaded_adapter_is_not_found(
        self, engine: EngineClient, greedy: Callable[..., Any]
    ) -> None:
        engine.load_adapter("ft:tiny:luthier::Zz345678")
        body = {"lora_name": "ft:tiny:luthier::Zz345678"}
        assert engine.http("POST", "/v1/unload_lora_adapter", json=body).status_code == 200
        assert engine.http("POST", "/v1/unload_lora_adapter", json=body).status_code == 404
        with pytest.raises(NotFoundError):
            greedy(model="ft:tiny:luthier::Zz345678")

    @pytest.mark.parametrize(
        ("changes", "status", "param"),
        [
            ({"path": "projects/nothing"}, 404, "lora_path"),
            ({"path": "../../etc"}, 400, "lora_path"),
            ({"base": "gpt-9"}, 404, None),
            ({"name": "tiny"}, 400, "lora_name"),
            ({"name": ""}, 400, "lora_name"),
        ],
    )
    def test_invalid_adapters_are_rejected(
        self, engine: EngineClient, changes: dict[str, str], status: int, param: str | None
    ) -> None:
        response = engine.load_adapter(**{"name": "ft:other", **changes})
        assert response.status_code == status
        assert response.json()["error"]["param"] == param


class TestMetrics:
    def test_they_are_prometheus_text(self, engine: EngineClient) -> None:
        response = engine.http("GET", "/metrics")
        assert response.headers["content-type"] == CONTENT_TYPE_LATEST
        families = text_string_to_metric_families(response.text)
        exported = {family.name: family.type for family in families}
        described = {series.name.removesuffix("_total") for series in engine_series()}
        assert {name for name in exported if not name.endswith("_created")} == described
        assert exported["luthier_engine_time_to_first_token_seconds"] == "histogram"


def test_a_deleted_adapter_is_not_found_until_it_is_loaded_again(
    base_folder: Path, base_model: CatalogModel, tmp_path: Path
) -> None:
    store_adapter(tmp_path, base_folder, target_modules=["q_proj"])
    with running_engine(tmp_path, catalog_entry(base_model)) as engine:
        body = {"model": TUNED_MODEL, "messages": HELLO, "max_tokens": 2}
        assert engine.load_adapter().status_code == 200
        (tmp_path / "cache" / "adapters").rename(tmp_path / "lost")
        assert engine.http("POST", "/v1/chat/completions", json=body).status_code == 404
        assert engine.load_adapter().status_code == 200
        assert engine.http("POST", "/v1/chat/completions", json=body).status_code == 200
