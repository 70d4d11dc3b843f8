"""Requests that the engine rejects, and the errors they get."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from openai import APIError, BadRequestError, NotFoundError

from tests.raw_http import connected
from tests.worker.inference.running_engine import (
    BRIEF_TOKENS,
    SHORT_CONTEXT,
    EngineClient,
)


class TestRejected:
    @pytest.mark.parametrize("name", ["gpt-9", "ft:tiny:luthier::Unknown1", "elsewhere"])
    def test_an_unknown_model_is_not_found(self, greedy: Callable[..., Any], name: str) -> None:
        with pytest.raises(NotFoundError) as raised:
            greedy(model=name)
        assert raised.value.code == "model_not_found"
        assert f"The model `{name}` does not exist" in raised.value.message

    def test_an_unloadable_model_is_unavailable(self, greedy: Callable[..., Any]) -> None:
        for _ in range(2):
            with pytest.raises(APIError, match="broken is not readable") as raised:
                greedy(model="broken")
            assert raised.value.status_code == 503  # type: ignore[attr-defined]

    def test_a_too_long_prompt_is_rejected(self, greedy: Callable[..., Any]) -> None:
        with pytest.raises(BadRequestError) as raised:
            greedy(model="short", messages=[{"role": "user", "content": "x" * 100}])
        assert raised.value.code == "context_length_exceeded"
        assert raised.value.param == "messages"
        assert (
            f"This model's maximum context length is {SHORT_CONTEXT} tokens. However, your "
            "messages resulted in 138 tokens. Please reduce the length of the messages."
        ) in raised.value.message

    def test_a_far_too_long_prompt_is_rejected_before_tokenization(
        self, greedy: Callable[..., Any]
    ) -> None:
        many = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}] * 1000
        for messages in ([{"role": "user", "content": "x" * 900_000}], many):
            with pytest.raises(
                BadRequestError, match=r"resulted in at least [0-9]+ tokens"
            ) as raised:
                greedy(model="short", messages=messages)
            assert (raised.value.code, raised.value.param) == (
                "context_length_exceeded",
                "messages",
            )

    def test_the_context_limits_the_response(self, greedy: Callable[..., Any]) -> None:
        response = greedy(model="short", max_tokens=1000)
        assert response.usage.total_tokens == SHORT_CONTEXT
        assert response.choices[0].finish_reason == "length"

    def test_a_chat_without_a_limit_has_the_models(self, greedy: Callable[..., Any]) -> None:
        response = greedy(model="brief", max_tokens=None)
        assert response.usage.completion_tokens == BRIEF_TOKENS
        assert response.choices[0].finish_reason == "length"
        assert greedy(model="brief", max_tokens=9).usage.completion_tokens == 9

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("messages", []),
            ("temperature", 3),
            ("n", 65),
            ("logit_bias", {"263": 1}),
        ],
    )
    def test_unsupported_fields_are_rejected(
        self, greedy: Callable[..., Any], field: str, value: Any
    ) -> None:
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
    def test_every_error_has_openais_shape(
        self, engine: EngineClient, method: str, path: str, body: bytes, status: int
    ) -> None:
        response = engine.http(method, path, content=body)
        assert response.status_code == status
        assert response.json()["error"].keys() == {"message", "type", "param", "code"}
        assert response.json()["error"]["type"] == "invalid_request_error"


def test_a48_trailers_without_end_are_cut_off(engine: EngineClient) -> None:
    block = (b"X-Trailer: " + b"y" * 100 + b"\r\n") * 500
    sent = 0
    with connected(engine.url) as connection:
        connection.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\n{}\r\n0\r\n"
        )
        with suppress(OSError):
            while sent < 64 * 2**20:
                sent += connection.send(block)
    assert sent < 16 * 2**20, "the connection was not closed"
