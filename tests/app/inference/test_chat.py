"""/v1/chat/completions: forwarded requests and responses, engine failures, disconnects."""

import json
import socket
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from openai import APIError, OpenAI
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from sqlalchemy.orm import Session

from app.db.tables import Project
from app.main import create_app
from app.settings import Settings
from tests.app.http.test_admission import expect_error
from tests.app.jobs.test_routes import make_model
from tests.factories import make_job
from tests.live_api import Account
from tests.live_server import FakeEngine
from tests.polling import wait_until

TUNED = "ft:base:acme::Abcd1234"
HELLO: list[dict[str, Any]] = [{"role": "user", "content": "hello"}]


@pytest.fixture
def tuned(session: Session, account: Account) -> str:
    project = session.get_one(Project, account.principal.project_id)
    return make_model(session, make_job(session, project, base_model="base"), TUNED).name


def ask(http: httpx.Client, **body: Any) -> httpx.Response:
    return http.post("/v1/chat/completions", json={"model": "base", "messages": HELLO} | body)


class TestResponses:
    def test_single_response(self, openai: OpenAI, engine: FakeEngine) -> None:
        response = openai.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "hello"}]
        )
        assert response.choices[0].message.content == "Hello"
        assert response.model == "base", "aliases are resolved"

    def test_stream(self, openai: OpenAI, engine: FakeEngine) -> None:
        stream = openai.chat.completions.create(
            model="base", messages=[{"role": "user", "content": "hello"}], stream=True
        )
        words = [chunk.choices[0].delta.content or "" for chunk in stream]
        assert "".join(words) == "Hello"

    def test_streams_are_not_buffered(self, http: httpx.Client, engine: FakeEngine) -> None:
        """The engine never ends this stream, so a buffering proxy would deliver nothing."""
        messages = [{"role": "user", "content": "forever"}]
        body = {"model": "base", "messages": messages, "stream": True}
        with http.stream("POST", "/v1/chat/completions", json=body) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            assert response.headers["x-request-id"].startswith("req_")
            first = next(response.iter_lines())
        assert json.loads(first.removeprefix("data: "))["choices"][0]["delta"]["content"] == "Hel"

    def test_only_known_fields_are_forwarded(self, http: httpx.Client, engine: FakeEngine) -> None:
        known = {"temperature": 0.5, "stop": ["x"], "logit_bias": {"1": 2}, "n": None}
        ignored = {"prediction": {}, "service_tier": "auto", "safety_identifier": "x"}
        assert ask(http, **known, **ignored).status_code == 200
        assert engine.bodies == [
            {
                "model": "base",
                "messages": HELLO,
                "temperature": 0.5,
                "stop": ["x"],
                "logit_bias": {"1": 2},
            }
        ]

    def test_every_field_of_the_sdk_is_accepted(
        self, http: httpx.Client, engine: FakeEngine
    ) -> None:
        """Those that have no effect here too: clients set them for all servers."""
        params = CompletionCreateParamsNonStreaming.__annotations__
        forwarded_later = params.keys() - {"model", "messages", "metadata", "store"}
        response = ask(http, **dict.fromkeys(forwarded_later))
        assert response.status_code == 200, response.text
        assert len(forwarded_later) > 30

    @pytest.mark.parametrize("field", ["chat_template", "prompt_embeds", "guided_regex"])
    def test_unknown_field(self, http: httpx.Client, engine: FakeEngine, field: str) -> None:
        """Engines have such fields of their own, which are unsafe to forward."""
        assert expect_error(ask(http, **{field: "(a+)+"}), 400) == {
            "message": f"Unrecognized request argument supplied: {field}",
            "type": "invalid_request_error",
            "param": field,
            "code": "unknown_parameter",
        }
        assert engine.bodies == []

    def test_unknown_fields_are_named_shortened(self, http: httpx.Client) -> None:
        error = expect_error(ask(http, **{"top_k": 4, "a" * 9000: 1}), 400)
        names = f"{'a' * 40}, top_k"
        assert error["message"] == f"Unrecognized request arguments supplied: {names}"

    def test_messages_are_forwarded_unchanged(self, http: httpx.Client, engine: FakeEngine) -> None:
        messages = [
            {"role": "developer", "content": [{"type": "text", "text": "Ü"}], "name": "d"},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1"}]},
            {"role": "tool", "content": "4", "tool_call_id": "call_1"},
            {"role": "user", "content": "hello"},
        ]
        assert ask(http, messages=messages).status_code == 200
        assert engine.bodies[0]["messages"] == messages


class TestFineTunedModels:
    def test_adapter_is_loaded_on_first_use(
        self, http: httpx.Client, engine: FakeEngine, tuned: str
    ) -> None:
        for _ in range(2):
            response = ask(http, model=tuned)
            assert response.status_code == 200, response.text
            assert response.json()["model"] == tuned
        loads = [body for body in engine.bodies if "lora_name" in body]
        assert [load["lora_name"] for load in loads] == [tuned]
        assert loads[0]["base_model_name"] == "base"
        assert loads[0]["lora_path"].startswith("projects/")

    def test_a_restarted_engine_recovers(
        self, http: httpx.Client, engine: FakeEngine, tuned: str
    ) -> None:
        assert ask(http, model=tuned).status_code == 200
        engine.loaded.clear()
        assert ask(http, model=tuned).status_code == 200

    def test_adapter_that_cannot_be_loaded(
        self, http: httpx.Client, engine: FakeEngine, session: Session, account: Account
    ) -> None:
        project = session.get_one(Project, account.principal.project_id)
        model = make_model(session, make_job(session, project, base_model="base"), TUNED)
        model.storage_prefix = "broken"
        session.commit()
        response = ask(http, model=TUNED)
        assert "could not load the model" in str(expect_error(response, 503)["message"])

    def test_another_projects_model(
        self, other_tenant: httpx.Client, engine: FakeEngine, tuned: str
    ) -> None:
        assert expect_error(ask(other_tenant, model=tuned), 404)["code"] == "model_not_found"
        assert engine.bodies == []


class TestClientErrors:
    def test_unknown_model(self, http: httpx.Client) -> None:
        assert expect_error(ask(http, model="gpt-9"), 404) == {
            "message": "The model `gpt-9` does not exist or you do not have access to it.",
            "type": "invalid_request_error",
            "param": None,
            "code": "model_not_found",
        }

    def test_base_encoder(self, http: httpx.Client) -> None:
        error = expect_error(ask(http, model="encoder"), 400)
        assert error["param"] == "model"
        assert "does not support chat completions" in str(error["message"])

    @pytest.mark.parametrize(
        ("messages", "param"),
        [
            ([], "messages"),
            (None, "messages"),
            ("hello", "messages"),
            ({}, "messages"),
            ([1], "messages[0]"),
            ([{"content": "x"}], "messages[0].role"),
            ([*HELLO, {"role": "boss", "content": "x"}], "messages[1].role"),
            ([{"role": "user", "content": 5}], "messages[0].content"),
            (
                [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
                "messages[0].content",
            ),
        ],
    )
    def test_invalid_messages(self, http: httpx.Client, messages: object, param: str) -> None:
        assert expect_error(ask(http, messages=messages), 400)["param"] == param

    def test_engine_errors_are_forwarded(self, http: httpx.Client, engine: FakeEngine) -> None:
        error = expect_error(ask(http, messages=[{"role": "user", "content": "too long"}]), 400)
        assert error["code"] == "context_length_exceeded"
        assert error["param"] == "messages"


class TestEngineFailures:
    def test_unreachable(self, settings: Settings, account: Account) -> None:
        unreachable = settings.model_copy(update={"engine_url": "http://127.0.0.1:9"})
        headers = {"Authorization": f"Bearer {account.secret}"}
        with TestClient(create_app(unreachable), headers=headers) as http:
            body = {"model": "smollm2-135m-instruct", "messages": HELLO}
            response = http.post("/v1/chat/completions", json=body)
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) >= 1
        assert response.json()["error"]["type"] == "server_error"
        assert "127.0.0.1" not in response.text

    def test_internal_error(self, http: httpx.Client, engine: FakeEngine) -> None:
        response = ask(http, messages=[{"role": "user", "content": "crash"}])
        expect_error(response, 503)

    def test_connection_lost_within_a_stream(self, openai: OpenAI, engine: FakeEngine) -> None:
        stream = openai.chat.completions.create(
            model="base", messages=[{"role": "user", "content": "die"}], stream=True
        )
        with pytest.raises(APIError, match="engine is unavailable"):
            list(stream)


class TestClientDisconnects:
    """The engine's generation is aborted."""

    def test_before_the_response(self, http: httpx.Client, engine: FakeEngine) -> None:
        body = {"model": "base", "messages": [{"role": "user", "content": "wait"}]}
        request = http.build_request("POST", "/v1/chat/completions", json=body)
        head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        address = (request.url.host, request.url.port)
        with socket.create_connection(address) as connection:
            connection.sendall(f"POST {request.url.path} HTTP/1.1\r\n{head}\r\n".encode())
            connection.sendall(request.read())
            wait_until("the engine has the request", lambda: engine.bodies)
        assert engine.aborted.wait(60), "the engine was not aborted"

    def test_within_a_stream(self, http: httpx.Client, engine: FakeEngine) -> None:
        messages = [{"role": "user", "content": "forever"}]
        body = {"model": "base", "messages": messages, "stream": True}
        with http.stream("POST", "/v1/chat/completions", json=body) as response:
            next(response.iter_lines())
        assert engine.aborted.wait(60), "the engine was not aborted"


class TestA51ManyMessages:
    def test_a_request_has_at_most_2048_messages(self, http: httpx.Client) -> None:
        response = ask(http, messages=HELLO * 2049)
        assert expect_error(response, 400)["param"] == "messages"
        assert "at most 2048" in response.text

    @pytest.mark.parametrize("field", ["tools", "functions"])
    def test_a_request_has_at_most_128_tools(self, http: httpx.Client, field: str) -> None:
        response = ask(http, **{field: [{"type": "function", "function": {"name": "f"}}] * 129})
        assert expect_error(response, 400)["param"] == field
        assert "at most 128" in response.text
