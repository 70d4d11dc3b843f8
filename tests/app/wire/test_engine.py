"""Requests to the engine: defaults, normalization and errors."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from app.errors import InvalidRequest
from app.wire.engine import ChatCompletionChunk, ChatCompletionRequest, ChunkChoice, Delta
from app.wire.validation_errors import to_invalid_request

HELLO = {"role": "user", "content": "Hello"}
FUNCTION = {"name": "f", "parameters": {}}
TOOL = {"type": "function", "function": FUNCTION}
CALLED = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "a", **CALLED}]}
TWO_CALLS = {**CALL, "tool_calls": [{"id": "a", **CALLED}, {"id": "b", **CALLED}]}
RESULT = {"role": "tool", "content": "4", "tool_call_id": "a"}
PLAIN: dict[str, Any] = {"model": "m", "messages": [HELLO]}


def parse(**changes: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest.model_validate_json(json.dumps({**PLAIN, **changes}))


def reject(body: str | bytes) -> InvalidRequest:
    with pytest.raises(ValidationError) as raised:
        ChatCompletionRequest.model_validate_json(body)
    return to_invalid_request(raised.value.errors())


class TestValid:
    def test_minimal_request(self) -> None:
        request = parse()
        assert request.messages[0].model_dump(exclude_none=True) == {
            "role": "user",
            "content": [{"type": "text", "text": "Hello"}],
        }
        assert (request.max_new_tokens, request.stop, request.include_usage) == (None, None, False)

    def test_max_completion_tokens_wins_over_max_tokens(self) -> None:
        assert parse(max_tokens=3).max_new_tokens == 3
        assert parse(max_tokens=3, max_completion_tokens=5).max_new_tokens == 5

    def test_stop_is_normalized_to_a_list(self) -> None:
        assert parse(stop="a").stop == ["a"]
        assert parse(stop=["a", "b"]).stop == ["a", "b"]
        assert parse(stop=None).stop is None

    def test_integers_are_valid_numbers(self) -> None:
        assert parse(temperature=1, logit_bias={"5": 3}).logit_bias == {"5": 3.0}

    def test_response_messages_can_be_sent_back(self) -> None:
        answer = {"role": "assistant", "content": "Hi", "refusal": None, "annotations": []}
        request = parse(messages=[HELLO, answer, {"role": "assistant", "content": None}])
        assert request.messages[1].role == "assistant"

    @pytest.mark.parametrize(
        "harmless",
        [
            {"user": "u"},
            {"store": True},
            {"metadata": {"a": "b"}},
            {"reasoning_effort": "low"},
            {"prompt_cache_key": "k"},
            {"parallel_tool_calls": False},
            {"response_format": {"type": "text"}},
            {"response_format": {"type": "json_object"}},
            {"logprobs": False, "top_logprobs": None},
        ],
        ids=lambda fields: next(iter(fields)),
    )
    def test_fields_without_effect_are_accepted(self, harmless: dict[str, Any]) -> None:
        assert parse(**harmless).model == "m"


class TestInvalid:
    @pytest.mark.parametrize(
        ("changes", "param", "word"),
        [
            ({"messages": []}, "messages", "at least 1"),
            ({"messages": {}}, "messages", "array"),
            ({"messages": ["x"]}, "messages[0]", "object"),
            ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role", "'user'"),
            ({"messages": [{"role": "user"}]}, "messages[0]", "needs a content"),
            ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "parts"),
            (
                {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
                "messages[0].content[0]",
                "image_url",
            ),
            ({"model": 5}, "model", "string"),
            ({"temperature": 2.1}, "temperature", "2"),
            ({"temperature": "1"}, "temperature", "number"),
            ({"top_p": -1}, "top_p", "0"),
            ({"n": 0}, "n", "1"),
            ({"n": 129}, "n", "128"),
            ({"n": True}, "n", "integer"),
            ({"max_tokens": 0}, "max_tokens", "1"),
            ({"max_completion_tokens": 1.5}, "max_completion_tokens", "integer"),
            ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "4"),
            ({"stop": ""}, "stop[0]", "1 character"),
            ({"seed": 2**64}, "seed", "to 9223372036854775807"),
            ({"presence_penalty": -3}, "presence_penalty", "-2"),
            ({"frequency_penalty": 3}, "frequency_penalty", "2"),
            ({"logit_bias": {"x": 1}}, "logit_bias.x", "id of a token"),
            ({"logit_bias": {"1": 101}}, "logit_bias.1", "100"),
            ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "20"),
            ({"top_logprobs": 2}, "top_logprobs", "logprobs"),
            ({"stream_options": {"include_usage": True}}, "stream_options", "stream"),
            ({"response_format": {"type": "xml"}}, "response_format.type", "'json_schema'"),
            ({"response_format": {"type": "json_schema"}}, "response_format", "json_schema"),
            ({"tools": [{"type": "f", "function": {"name": "f"}}]}, "tools[0].type", "function"),
            ({"functions": [{"name": "f g"}]}, "functions[0].name", "pattern"),
            ({"chat_template_kwargs": {"a": "x" * 257}}, "chat_template_kwargs.a", "256"),
            ({"chat_template_kwargs": {"a": []}}, "chat_template_kwargs.a", "a string"),
            ({"chat_template_kwargs": {"a b": 1}}, "chat_template_kwargs.a b", "variables"),
            *(
                ({"chat_template_kwargs": {name: "x"}}, f"chat_template_kwargs.{name}", name)
                for name in ("chat_template", "tokenize", "messages", "return_dict")
            ),
        ],
    )
    def test_errors_name_parameter_and_reason(
        self, changes: dict[str, Any], param: str, word: str
    ) -> None:
        error = reject(json.dumps({**PLAIN, **changes}))
        assert (error.status, error.error_code) == (400, "invalid_value")
        assert error.error_param == param
        assert word in error.message

    @pytest.mark.parametrize(
        ("changes", "param", "sentence"),
        [
            ({"tools": []}, "tools", "Invalid 'tools': empty array. Expected an array with"),
            ({"functions": []}, "functions", "Invalid 'functions': empty array. Expected an array"),
            ({"tools": [TOOL], "functions": [FUNCTION]}, "functions", "but not both"),
            ({"tool_choice": "auto"}, "tool_choice", "only allowed when 'tools' are specified"),
            ({"tool_choice": "none"}, "tool_choice", "only allowed when 'tools' are specified"),
            ({"function_call": "auto"}, "function_call", "allowed when 'functions' are specified"),
            (
                {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
                "tool_choice",
                "no function named 'g' was specified in the 'tools' parameter",
            ),
            (
                {"functions": [FUNCTION], "function_call": {"name": "g"}},
                "function_call",
                "no function named 'g' was specified in the 'functions' parameter",
            ),
        ],
    )
    def test_choices_of_functions_are_refused_as_by_openai(
        self, changes: dict[str, Any], param: str, sentence: str
    ) -> None:
        error = reject(json.dumps({**PLAIN, **changes}))
        assert (error.status, error.error_param) == (400, param)
        assert sentence in error.message
        assert ("tool_choice" in error.message) == ("tool_choice" in changes)

    @pytest.mark.parametrize(
        ("messages", "place", "word"),
        [
            ([HELLO, RESULT], "messages[1].role", "must be a response to a preceding message"),
            ([HELLO, CALL, {**RESULT, "tool_call_id": "b"}], "messages[2].role", "response"),
            ([HELLO, CALL, RESULT, RESULT], "messages[3].role", "must be a response"),
            ([HELLO, CALL, HELLO], "messages[2].role", "did not have response messages: a"),
            ([HELLO, CALL, HELLO, RESULT], "messages[2].role", "did not have response"),
            ([HELLO, CALL], "messages[2].role", "did not have response messages: a"),
            ([HELLO, TWO_CALLS, RESULT, HELLO], "messages[3].role", "response messages: b"),
            ([HELLO, CALL, {"role": "tool", "content": "4"}], "messages[2].tool_call_id", "Miss"),
        ],
    )
    def test_broken_histories(self, messages: Any, place: str, word: str) -> None:
        error = reject(json.dumps({**PLAIN, "messages": messages}))
        assert (error.status, error.error_param) == (400, place)
        assert word in error.message

    @pytest.mark.parametrize(
        "messages",
        [
            [HELLO, CALL, RESULT],
            [HELLO, TWO_CALLS, {**RESULT, "tool_call_id": "b"}, RESULT, HELLO],
            [HELLO, CALL, RESULT, CALL, RESULT],
            [HELLO, {"role": "assistant", "content": "Hi", "tool_calls": []}, HELLO],
            [
                HELLO,
                {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
                {"role": "function", "name": "f", "content": "4"},
            ],
        ],
    )
    def test_whole_histories(self, messages: Any) -> None:
        assert len(parse(messages=messages).messages) == len(messages)

    def test_missing_field(self) -> None:
        error = reject(json.dumps({"model": "m"}))
        assert error.error_param == "messages"
        assert error.error_code == "missing_required_parameter"

    def test_unknown_field(self) -> None:
        error = reject(json.dumps({**PLAIN, "top_k": 4}))
        assert (error.error_param, error.error_code) == ("top_k", "unknown_parameter")

    @pytest.mark.parametrize(
        "body",
        [b"", b"{", b"[]", b"5", b"\xff\xfe", b'{"model": "\\ud800"}', b"[" * 100_000],
        ids=["empty", "half", "list", "number", "no text", "surrogate", "deep"],
    )
    def test_malformed_bodies(self, body: bytes) -> None:
        error = reject(body)
        assert (error.status, error.error_param, error.error_code) == (400, None, None)


def test_chunks_omit_unset_fields() -> None:
    choice = ChunkChoice(index=0, delta=Delta(), logprobs=None, finish_reason="stop")
    chunk = ChatCompletionChunk(
        id="c",
        object="chat.completion.chunk",
        created=1,
        model="m",
        choices=[choice],
        service_tier="default",
        system_fingerprint="fp_0123456789",
    )
    sent = chunk.model_dump(exclude_unset=True)
    assert sent["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]
    assert "usage" not in sent
