"""The engine over HTTP, driven by the official SDK, with a model that never has enough."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import APIError, BadRequestError, NotFoundError, OpenAI

from app.catalog import CatalogModel
from app.settings import Settings
from app.storage import LocalStore
from tests.polling import wait_until
from tests.ports import free_port
from tests.worker.inference.conftest import load_tiny, make_adapter
from worker.inference.main import make_server

HELLO: Any = [{"role": "user", "content": "hello"}]
# So long that a generation is still running whenever a test looks.
LONG = 50_000
SHORT = 64
END = "2"
PREFIX = "projects/p/jobs/j/e1/step-6"
TUNED_MODEL = "ft:tiny:luthier:desk:AbCdEf12"


@dataclass
class EngineClient:
    url: str

    @property
    def client(self) -> OpenAI:
        return OpenAI(
            base_url=f"{self.url}/v1",
            api_key="none",
            max_retries=0,
            _strict_response_validation=True,
        )

    def http(self, method: str, path: str, **content: Any) -> httpx.Response:
        return httpx.request(method, self.url + path, timeout=120, **content)

    def is_ready(self) -> bool:
        return self.http("GET", "/health").status_code == 200

    def metric(self, name: str) -> int:
        lines = self.http("GET", "/metrics").text.splitlines()
        values = dict(line.split(" ") for line in lines if not line.startswith("#"))
        return int(values[f"luthier_engine_{name}"])

    def load_adapter(
        self, name: str = TUNED_MODEL, path: str = PREFIX, base: str = "tiny"
    ) -> httpx.Response:
        body = {"lora_name": name, "lora_path": path, "base_model_name": base}
        return self.http("POST", "/v1/load_lora_adapter", json=body)


def catalog_entry(model: CatalogModel, **changes: Any) -> str:
    """One table of models.toml; a string's, list's or number's JSON is TOML too."""
    values = replace(model, **changes).to_json().items()
    lines = [f"{name} = {json.dumps(value)}" for name, value in values if value is not None]
    return "\n".join(["[[model]]", *lines, ""])


@contextmanager
def running_engine(home: Path, *entries: str) -> Iterator[EngineClient]:
    """An engine with its data in `home`, listening."""
    (home / "models.toml").write_text("\n".join(entries))
    url = f"http://127.0.0.1:{free_port()}"
    server = make_server(
        Settings(
            luthier_home=home,
            models_file=home / "models.toml",
            engine_url=url,
            max_body_bytes=2**20,
        )
    )
    running = threading.Thread(target=asyncio.run, args=[server.serve()])
    running.start()
    engine = EngineClient(url)
    wait_until("the engine listens", lambda: server.started)
    wait_until("the first model is loaded", engine.is_ready)
    yield engine
    server.request_exit()
    running.join(120)
    assert not running.is_alive(), "the server ends when it is told to"


def store_adapter(home: Path, base_folder: Path, **config: Any) -> None:
    make_adapter(load_tiny(base_folder), home / "made", r=4, **config)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        LocalStore(home / "storage").upload(home / "made" / name, f"{PREFIX}/{name}")


@pytest.fixture(scope="module")
def engine(
    base_folder: Path, base_model: CatalogModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EngineClient]:
    home = tmp_path_factory.mktemp("engine")
    store_adapter(home, base_folder, lora_alpha=64, target_modules="all-linear")
    entries = [
        catalog_entry(base_model, context_length=LONG, aliases=["gpt-4o-mini"]),
        catalog_entry(base_model, id="short", context_length=SHORT),
        catalog_entry(base_model, id="broken", source="path:/nowhere"),
        catalog_entry(base_model, id="elsewhere", engine="http://127.0.0.1:1"),
    ]
    with running_engine(home, *entries) as served:
        yield served


@pytest.fixture
def client(engine: EngineClient) -> OpenAI:
    return engine.client


@pytest.fixture
def greedy(client: OpenAI) -> Callable[..., Any]:
    def ask(**changes: Any) -> Any:
        fields = {"model": "tiny", "messages": HELLO, "temperature": 0, "max_tokens": 20}
        # The end of a turn is banned, so that lengths are known.
        return client.chat.completions.create(**{"logit_bias": {END: -100}, **fields, **changes})

    return ask


class TestAnswer:
    def test_has_openais_shape(self, engine: EngineClient) -> None:
        body = {"model": "tiny", "messages": HELLO, "temperature": 0, "max_tokens": 5}
        answer = engine.http("POST", "/v1/chat/completions", json=body).json()
        assert answer["id"].startswith("chatcmpl-")
        assert answer["object"] == "chat.completion"
        (choice,) = answer["choices"]
        assert choice["logprobs"] is None
        assert choice["message"].keys() == {"role", "content", "refusal"}
        assert choice["message"]["role"] == "assistant"
        assert choice["message"]["refusal"] is None

    def test_length_and_usage(self, greedy: Callable[..., Any]) -> None:
        answer = greedy(max_tokens=7)
        assert answer.model == "tiny"
        assert answer.choices[0].finish_reason == "length"
        assert answer.usage.completion_tokens == 7
        assert answer.usage.prompt_tokens > 5
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + 7

    def test_the_end_of_the_turn(self, greedy: Callable[..., Any]) -> None:
        answer = greedy(logit_bias={END: 100})
        assert answer.choices[0].finish_reason == "stop"
        assert answer.choices[0].message.content == ""
        assert answer.usage.completion_tokens == 0

    def test_an_alias_is_answered_under_its_own_name(self, greedy: Callable[..., Any]) -> None:
        answer = greedy(model="gpt-4o-mini")
        assert answer.model == "gpt-4o-mini"
        assert answer.choices[0].message.content == greedy().choices[0].message.content

    def test_contents_in_parts_and_roles_old_and_new(self, greedy: Callable[..., Any]) -> None:
        def ask(*messages: dict[str, Any]) -> str:
            return str(greedy(messages=messages).choices[0].message.content)

        system = {"role": "system", "content": "Be brief."}
        parts = [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]
        developer = {"role": "developer", "content": "Be brief."}
        assert ask(system, HELLO[0]) == ask(developer, {"role": "user", "content": parts})
        assert ask(system, HELLO[0]) != ask(system, HELLO[0], system)

    def test_a_stop_string(self, greedy: Callable[..., Any]) -> None:
        whole = greedy(max_tokens=30).choices[0].message.content
        stop = whole[4:7]
        answer = greedy(max_tokens=30, stop=[stop, "never said"])
        assert answer.choices[0].message.content == whole.partition(stop)[0]
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage.completion_tokens < 30

    def test_choices_and_seeds(self, greedy: Callable[..., Any]) -> None:
        def ask(seed: int) -> list[str]:
            answer = greedy(temperature=1, seed=seed, n=3)
            assert [choice.index for choice in answer.choices] == [0, 1, 2]
            assert answer.usage.completion_tokens == 60
            return [choice.message.content for choice in answer.choices]

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

    def test_many_clients_get_their_own_answers(self, greedy: Callable[..., Any]) -> None:
        def ask(word: str) -> str:
            messages = [{"role": "user", "content": word}]
            return str(greedy(messages=messages).choices[0].message.content)

        words = [f"word {n}" for n in range(12)]
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(ask, words))
        assert all(answers)
        assert len(set(answers)) > 1


class TestStream:
    def test_chunks(self, greedy: Callable[..., Any]) -> None:
        whole = greedy()
        chunks = list(greedy(stream=True, stream_options={"include_usage": True}))
        assert len({(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks}) == 1
        first, *middle, last, usage = chunks
        assert first.choices[0].delta.model_dump(exclude_unset=True) == {
            "role": "assistant",
            "content": "",
        }
        text = "".join(chunk.choices[0].delta.content for chunk in middle)
        assert text == whole.choices[0].message.content
        assert {chunk.choices[0].finish_reason for chunk in (first, *middle)} == {None}
        assert last.choices[0].delta.model_dump(exclude_unset=True) == {}
        assert last.choices[0].finish_reason == "length"
        assert usage.choices == []
        assert usage.usage == whole.usage

    def test_on_the_wire(self, engine: EngineClient) -> None:
        body = {"model": "tiny", "messages": HELLO, "max_tokens": 4, "stream": True}
        answer = engine.http("POST", "/v1/chat/completions", json=body)
        assert answer.headers["content-type"].startswith("text/event-stream")
        *events, done, rest = answer.text.split("\n\n")
        assert (done, rest) == ("data: [DONE]", "")
        for event in events:
            chunk = json.loads(event.removeprefix("data: "))
            assert "usage" not in chunk, "nobody asked for it"
            assert chunk["choices"][0].keys() == {"index", "delta", "logprobs", "finish_reason"}

    def test_usage_is_null_until_the_end(self, engine: EngineClient) -> None:
        body = {"model": "tiny", "messages": HELLO, "max_tokens": 4, "stream": True}
        body["stream_options"] = {"include_usage": True}
        answer = engine.http("POST", "/v1/chat/completions", json=body)
        events = [json.loads(e.removeprefix("data: ")) for e in answer.text.split("\n\n")[:-2]]
        assert [event["usage"] is None for event in events] == [True] * (len(events) - 1) + [False]

    def test_choices_and_logprobs(self, greedy: Callable[..., Any]) -> None:
        whole = greedy(n=2, logprobs=True, top_logprobs=1, temperature=1, seed=3)
        texts, tokens = {0: "", 1: ""}, {0: 0, 1: 0}
        for chunk in greedy(n=2, logprobs=True, top_logprobs=1, temperature=1, seed=3, stream=True):
            (choice,) = chunk.choices
            texts[choice.index] += choice.delta.content or ""
            tokens[choice.index] += len(choice.logprobs.content) if choice.logprobs else 0
        assert texts == {choice.index: choice.message.content for choice in whole.choices}
        assert tokens == {0: 20, 1: 20}

    def test_a_stop_string(self, greedy: Callable[..., Any]) -> None:
        whole = greedy(max_tokens=30).choices[0].message.content
        chunks = list(greedy(max_tokens=30, stop=whole[4:7], stream=True))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert text == whole.partition(whole[4:7])[0]
        assert chunks[-1].choices[0].finish_reason == "stop"


class TestLeaving:
    def test_a_stream(self, engine: EngineClient, greedy: Callable[..., Any]) -> None:
        stream = greedy(stream=True, max_tokens=LONG - 1000)
        for _ in range(3):
            next(iter(stream))
        assert engine.metric("running_requests") == 1
        stream.close()
        wait_until("nothing runs", lambda: engine.metric("running_requests") == 0)

    def test_before_the_answer(self, engine: EngineClient, client: OpenAI) -> None:
        with pytest.raises(APIError):
            client.with_options(timeout=1).chat.completions.create(
                model="tiny", messages=HELLO, logit_bias={END: -100}
            )
        wait_until("nothing runs", lambda: engine.metric("running_requests") == 0)
        assert engine.metric("generated_tokens_total") < LONG


class TestAdapters:
    def test_are_loaded_by_key_and_change_the_answer(
        self, engine: EngineClient, greedy: Callable[..., Any]
    ) -> None:
        assert engine.load_adapter().status_code == 200
        assert engine.load_adapter().status_code == 200, "again is fine"
        tuned, base = greedy(model=TUNED_MODEL), greedy()
        assert tuned.model == TUNED_MODEL
        assert tuned.choices[0].message.content != base.choices[0].message.content
        listed = engine.http("GET", "/v1/models").json()
        assert [model["id"] for model in listed["data"]] == ["tiny", "short", "broken", TUNED_MODEL]

    def test_base_and_tuned_at_once(self, engine: EngineClient, greedy: Callable[..., Any]) -> None:
        engine.load_adapter()
        names = ["tiny", TUNED_MODEL] * 4
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda name: greedy(model=name).model, names))
        assert together == names

    def test_unloaded_is_unknown(self, engine: EngineClient, greedy: Callable[..., Any]) -> None:
        engine.load_adapter("ft:tiny:luthier::Zz345678")
        body = {"lora_name": "ft:tiny:luthier::Zz345678"}
        assert engine.http("POST", "/v1/unload_lora_adapter", json=body).status_code == 200
        assert engine.http("POST", "/v1/unload_lora_adapter", json=body).status_code == 404
        with pytest.raises(NotFoundError):
            greedy(model="ft:tiny:luthier::Zz345678")

    @pytest.mark.parametrize(
        ("asked", "status", "param"),
        [
            ({"path": "projects/nothing"}, 404, "lora_path"),
            ({"path": "../../etc"}, 400, "lora_path"),
            ({"base": "gpt-9"}, 404, None),
            ({"name": "tiny"}, 400, "lora_name"),
            ({"name": ""}, 400, "lora_name"),
        ],
    )
    def test_refused(
        self, engine: EngineClient, asked: dict[str, str], status: int, param: str | None
    ) -> None:
        answer = engine.load_adapter(**{"name": "ft:other", **asked})
        assert answer.status_code == status
        assert answer.json()["error"]["param"] == param


class TestRefused:
    @pytest.mark.parametrize("name", ["gpt-9", "ft:tiny:luthier::Unknown1", "elsewhere"])
    def test_a_model_that_is_not_served_here(self, greedy: Callable[..., Any], name: str) -> None:
        with pytest.raises(NotFoundError) as raised:
            greedy(model=name)
        assert raised.value.code == "model_not_found"
        assert f"The model `{name}` does not exist" in raised.value.message

    def test_a_model_that_cannot_be_loaded(self, greedy: Callable[..., Any]) -> None:
        for _ in range(2):
            with pytest.raises(APIError, match="broken is not readable") as raised:
                greedy(model="broken")
            assert raised.value.status_code == 503  # type: ignore[attr-defined]

    def test_a_context_that_is_too_long(self, greedy: Callable[..., Any]) -> None:
        with pytest.raises(BadRequestError) as raised:
            greedy(model="short", messages=[{"role": "user", "content": "x" * 100}])
        assert raised.value.code == "context_length_exceeded"
        assert raised.value.param == "messages"
        assert (
            f"This model's maximum context length is {SHORT} tokens. However, your messages "
            "resulted in 138 tokens. Please reduce the length of the messages."
        ) in raised.value.message

    def test_what_certainly_is_too_long_is_not_tokenized(self, greedy: Callable[..., Any]) -> None:
        many = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}] * 1000
        for messages in ([{"role": "user", "content": "x" * 900_000}], many):
            with pytest.raises(BadRequestError, match=r"resulted in at least [0-9]+ tokens") as no:
                greedy(model="short", messages=messages)
            assert (no.value.code, no.value.param) == ("context_length_exceeded", "messages")

    def test_the_context_ends_the_answer(self, greedy: Callable[..., Any]) -> None:
        answer = greedy(model="short", max_tokens=1000)
        assert answer.usage.total_tokens == SHORT
        assert answer.choices[0].finish_reason == "length"

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("messages", []),
            ("temperature", 3),
            ("n", 33),
            ("logit_bias", {"263": 1}),
            ("tools", [{"type": "function", "function": {"name": "f"}}]),
            ("response_format", {"type": "json_object"}),
        ],
    )
    def test_a_field(self, greedy: Callable[..., Any], field: str, value: Any) -> None:
        with pytest.raises(BadRequestError) as raised:
            greedy(**{field: value})
        assert raised.value.param == field

    @pytest.mark.parametrize(
        ("method", "path", "body", "status"),
        [
            ("GET", "/nothing", b"", 404),
            ("GET", "/v1/chat/completions", b"", 405),
            ("POST", "/v1/chat/completions", b"{", 400),
            ("POST", "/v1/chat/completions", b"\xff", 400),
            ("POST", "/v1/chat/completions", b"[" * 2**21, 413),
            ("POST", "/v1/load_lora_adapter", b"{}", 400),
        ],
    )
    def test_everything_has_the_envelope(
        self, engine: EngineClient, method: str, path: str, body: bytes, status: int
    ) -> None:
        answer = engine.http(method, path, content=body)
        assert answer.status_code == status
        assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
        assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_lost_adapter_folder_is_unknown_until_it_is_loaded_again(
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
