"""/v1/responses, whole answers: the chat request that is made, and the answer that comes back."""

import json
from typing import Any

import httpx
import pytest
from openai import BadRequestError, OpenAI
from pydantic import BaseModel

from tests.app.http.test_admission import expect_error
from tests.live_server import FakeEngine

PATH = "/v1/responses"
USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 5,
    "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
ADD = {
    "type": "function",
    "name": "add",
    "description": "Adds.",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    "strict": None,
}
CALL = {"type": "function_call", "call_id": "call_1", "name": "add", "arguments": '{"a": 1}'}


def answer(message: dict[str, Any], finish_reason: str = "stop", **more: Any) -> dict[str, Any]:
    """An input that the fake engine answers with this message."""
    choice = {"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": None}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "base"}
    body |= {"choices": [choice | more], "usage": USAGE}
    return {"role": "user", "content": f"answer 200 {json.dumps(body)}"}


def ask(http: httpx.Client, **body: Any) -> dict[str, Any]:
    response = http.post(PATH, json={"model": "base", "input": "hello"} | body)
    assert response.status_code == 200, response.text
    answered: dict[str, Any] = response.json()
    return answered


@pytest.fixture(autouse=True)
def _engine(engine: FakeEngine) -> None:
    """Every test has a fresh engine."""


class TestRequest:
    def test_a_text(self, openai: OpenAI, engine: FakeEngine) -> None:
        response = openai.responses.create(model="gpt-4o-mini", input="hello")
        assert (response.output_text, response.status) == ("Hello", "completed")
        assert response.model == "base", "aliases are resolved"
        assert response.usage is not None
        assert response.usage.total_tokens == 2
        assert engine.bodies == [
            {"model": "base", "messages": [{"role": "user", "content": "hello"}]}
        ]

    def test_each_field_has_its_place(self, http: httpx.Client, engine: FakeEngine) -> None:
        schema = {"type": "object", "properties": {}}
        text = {"format": {"type": "json_schema", "name": "x", "schema": schema, "strict": True}}
        sent = {
            "instructions": "Be brief.",
            "max_output_tokens": 16,
            "max_tool_calls": 2,
            "metadata": {"k": "v"},
            "parallel_tool_calls": False,
            "prompt_cache_key": "p",
            "reasoning": {"effort": "low", "summary": "auto"},
            "safety_identifier": "s",
            "temperature": 0.5,
            "text": text | {"verbosity": "low"},
            "tool_choice": {"type": "function", "name": "add"},
            "tools": [ADD],
            "top_logprobs": 2,
            "top_p": 0.5,
            "user": "u",
        }
        more = {"include": ["message.output_text.logprobs"], "truncation": "disabled"}
        response = ask(http, **sent, **more, service_tier="auto")
        assert {name: response[name] for name in sent} == sent
        function = {name: ADD[name] for name in ("name", "description", "parameters")}
        assert engine.bodies == [
            {
                "model": "base",
                "messages": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": "hello"},
                ],
                "tools": [{"type": "function", "function": function}],
                "parallel_tool_calls": False,
                "tool_choice": {"type": "function", "function": {"name": "add"}},
                "reasoning_effort": "low",
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": schema, "strict": True},
                },
                "max_completion_tokens": 16,
                "temperature": 0.5,
                "top_p": 0.5,
                "user": "u",
                "logprobs": True,
                "top_logprobs": 2,
            }
        ]

    def test_what_is_not_sent_has_the_defaults(self, http: httpx.Client) -> None:
        response = ask(http)
        expected: dict[str, Any] = {
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "parallel_tool_calls": True,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "truncation": "disabled",
        }
        assert {name: response[name] for name in expected} == expected

    def test_truncation_is_up_to_the_engine(self, http: httpx.Client, engine: FakeEngine) -> None:
        assert ask(http, truncation="auto")["truncation"] == "auto"
        assert engine.bodies[0]["truncation"] == "auto"

    def test_allowed_tools(self, http: httpx.Client, engine: FakeEngine) -> None:
        choice = {"type": "allowed_tools", "mode": "required"}
        tools = [{"type": "function", "name": "add"}]
        ask(http, tools=[ADD], tool_choice=choice | {"tools": tools})
        allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "add"}}]}
        expected = {"type": "allowed_tools", "allowed_tools": allowed}
        assert engine.bodies[0]["tool_choice"] == expected

    def test_no_tools(self, http: httpx.Client, engine: FakeEngine) -> None:
        """A chat request may have neither an empty list nor a choice without tools."""
        ask(http, tools=[], tool_choice="auto", parallel_tool_calls=True)
        assert engine.bodies[0].keys() == {"model", "messages"}

    def test_results_follow_their_calls(self, http: httpx.Client, engine: FakeEngine) -> None:
        second = CALL | {"call_id": "call_2"}
        ask(
            http,
            input=[
                {"role": "user", "content": "hello"},
                {"type": "reasoning", "summary": [], "content": [_reasoning_text("Hm")]},
                {"role": "assistant", "content": "I add."},
                CALL,
                second,
                {"role": "developer", "content": "Go on."},
                {"type": "function_call_output", "call_id": "call_2", "output": "2"},
                {"type": "function_call_output", "call_id": "call_1", "output": "1"},
                {"role": "user", "content": [_input_text("a"), _input_text("b")]},
            ],
        )
        parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
        assert engine.bodies[0]["messages"] == [
            {"role": "user", "content": "hello"},
            {
                "role": "assistant",
                "content": "I add.",
                "reasoning_content": "Hm",
                "tool_calls": [_chat_call("call_1"), _chat_call("call_2")],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "1"},
            {"role": "tool", "tool_call_id": "call_2", "content": "2"},
            {"role": "developer", "content": "Go on."},
            {"role": "user", "content": parts},
        ]

    def test_turns(self, http: httpx.Client, engine: FakeEngine) -> None:
        """One call after the other's result is another turn; so is the answer to both."""
        ask(
            http,
            input=[
                CALL,
                {"type": "function_call_output", "call_id": "call_1", "output": "1"},
                CALL | {"call_id": "call_2"},
                {"type": "function_call_output", "call_id": "call_2", "output": "2"},
                {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
                {"type": "reasoning", "summary": [], "content": [_reasoning_text("Hm")]},
            ],
        )
        roles = [message["role"] for message in engine.bodies[0]["messages"]]
        assert roles == ["assistant", "tool", "assistant", "tool", "assistant", "assistant"]
        refusal, unfinished = engine.bodies[0]["messages"][-2:]
        assert refusal["content"] == [{"type": "refusal", "refusal": "No."}]
        assert unfinished == {"role": "assistant", "content": "", "reasoning_content": "Hm"}


class TestAnswer:
    def test_reasoning_text_and_calls(self, openai: OpenAI) -> None:
        call = {"id": "call_1", "type": "function"}
        function = {"name": "add", "arguments": '{"a": 1}'}
        message = {"role": "assistant", "content": "I add.", "reasoning_content": "Hm"}
        message |= {"tool_calls": [call | {"function": function}]}
        response = openai.responses.create(
            model="base",
            input=[answer(message, "tool_calls")],  # type: ignore[list-item]
            tools=[ADD],  # type: ignore[list-item]
        )
        reasoning, text, called = response.output
        assert reasoning.type == "reasoning"
        assert reasoning.content is not None
        assert reasoning.content[0].text == "Hm"
        assert text.type == "message"
        assert response.output_text == "I add."
        assert called.type == "function_call"
        assert (called.call_id, called.name, called.arguments) == ("call_1", "add", '{"a": 1}')
        assert {item.status for item in (reasoning, text, called)} == {"completed"}
        ids = [reasoning.id, text.id, str(called.id)]
        assert [each.split("_")[0] for each in ids] == ["rs", "msg", "fc"]
        assert response.usage is not None
        assert response.usage.to_dict() == {
            "input_tokens": 7,
            "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 2},
            "total_tokens": 12,
        }

    def test_an_answer_can_be_sent_back(self, openai: OpenAI, engine: FakeEngine) -> None:
        first = openai.responses.create(model="base", input="hello")
        history: Any = [{"role": "user", "content": "hello"}, *first.output]
        history.append({"role": "user", "content": "hello"})
        openai.responses.create(model="base", input=history)
        contents = [message["content"] for message in engine.bodies[1]["messages"]]
        assert contents == ["hello", "Hello", "hello"]

    def test_parsed(self, openai: OpenAI) -> None:
        class Sum(BaseModel):
            total: int

        asked: Any = [answer({"role": "assistant", "content": '{"total": 3}'})]
        response = openai.responses.parse(model="base", input=asked, text_format=Sum)
        assert response.output_parsed == Sum(total=3)

    @pytest.mark.parametrize(
        ("finish_reason", "reason"),
        [("length", "max_output_tokens"), ("content_filter", "content_filter")],
    )
    def test_incomplete(self, http: httpx.Client, finish_reason: str, reason: str) -> None:
        message = {"role": "assistant", "content": "I a"}
        response = ask(http, input=[answer(message, finish_reason)])
        assert (response["status"], response["completed_at"]) == ("incomplete", None)
        assert response["incomplete_details"] == {"reason": reason}
        assert response["output"][0]["status"] == "incomplete"

    def test_an_answer_without_text(self, http: httpx.Client) -> None:
        response = ask(http, input=[answer({"role": "assistant", "content": ""})])
        (message,) = response["output"]
        assert message["content"][0]["text"] == ""
        cut = ask(http, input=[answer({"role": "assistant", "content": None}, "length")])
        assert (cut["output"], cut["status"]) == ([], "incomplete")

    def test_logprobs(self, http: httpx.Client) -> None:
        top = {"token": "I", "logprob": -0.1, "bytes": None}
        content = [{"token": "I", "logprob": -0.1, "bytes": [73], "top_logprobs": [top]}]
        message = {"role": "assistant", "content": "I"}
        asked = answer(message, logprobs={"content": content, "refusal": None})
        part = ask(http, input=[asked])["output"][0]["content"][0]
        assert part["logprobs"] == [content[0] | {"top_logprobs": [top | {"bytes": []}]}]


class TestErrors:
    @pytest.mark.parametrize(
        "kind", ["web_search", "file_search", "code_interpreter", "mcp", "image_generation"]
    )
    def test_hosted_tools(self, http: httpx.Client, engine: FakeEngine, kind: str) -> None:
        body = {"model": "base", "input": "hello", "tools": [ADD, {"type": kind}]}
        error = expect_error(http.post(PATH, json=body), 400)
        assert error["param"] == "tools[1]"
        assert error["message"].startswith(f"Invalid 'tools[1]': tools of type '{kind}' are not")
        assert engine.bodies == []

    @pytest.mark.parametrize(
        ("fields", "param", "words"),
        [
            ({"top_k": 3}, "top_k", "Unknown parameter: 'top_k'."),
            ({"input": None}, "input", "Missing required parameter: 'input'."),
            ({"input": []}, "input", "Missing required parameter: 'input'."),
            ({"input": 3}, "input", "expected an array"),
            (
                {"input": [{"role": "user", "content": "x", "id": "msg_a/b"}]},
                "input[0].id",
                "a-zA-Z0-9_-",
            ),
            ({"max_output_tokens": 3}, "max_output_tokens", "from 16"),
            ({"prompt": {"id": "p"}}, "prompt", "prompts are not kept here"),
            ({"moderation": {"model": "m"}}, "moderation", "not moderated here"),
            ({"truncation": "middle"}, "truncation", "'auto' or 'disabled'"),
            ({"tool_choice": {"type": "mcp", "server_label": "x"}}, "tool_choice", "'mcp'"),
            ({"tool_choice": "any"}, "tool_choice", "expected 'none', 'auto', 'required'"),
            ({"include": ["all"]}, "include[0]", "message.output_text.logprobs"),
            ({"text": {"format": {"type": "xml"}}}, "text.format.type", "json_schema"),
            ({"metadata": {"a": "b" * 513}}, "metadata.a", "512"),
            (
                {"input": [CALL]},
                "input",
                "No tool output found for function call call_1.",
            ),
            (
                {"input": [{"type": "function_call_output", "call_id": "c", "output": ""}]},
                "input",
                "No tool call found for function call output with call_id c.",
            ),
        ],
    )
    def test_invalid_requests(
        self,
        http: httpx.Client,
        engine: FakeEngine,
        fields: dict[str, Any],
        param: str,
        words: str,
    ) -> None:
        body = {"model": "base", "input": "hello"} | fields
        error = expect_error(http.post(PATH, json=body), 400)
        assert error["param"] == param
        assert words in error["message"]
        assert engine.bodies == []

    def test_the_engines_errors_name_the_fields_of_a_response(self, openai: OpenAI) -> None:
        with pytest.raises(BadRequestError) as raised:
            openai.responses.create(model="base", input="too long")
        assert (raised.value.code, raised.value.param) == ("context_length_exceeded", "input")
        error = {
            "message": "Invalid 'tools[0].function.parameters': not 'max_tokens' of 'base'.",
            "type": "invalid_request_error",
            "param": "tools[0].function.parameters",
            "code": None,
        }
        asked: Any = [{"role": "user", "content": f"answer 400 {json.dumps({'error': error})}"}]
        with pytest.raises(BadRequestError) as raised:
            openai.responses.create(model="base", input=asked)
        assert raised.value.param == "tools[0].parameters"
        message = "Invalid 'tools[0].parameters': not 'max_output_tokens' of 'base'."
        assert message in raised.value.message

    def test_an_answer_that_is_none(self, http: httpx.Client) -> None:
        asked = {"role": "user", "content": 'answer 200 {"choices": []}'}
        response = http.post(PATH, json={"model": "base", "input": [asked]})
        assert expect_error(response, 503)["type"] == "server_error"

    def test_unknown_model(self, http: httpx.Client) -> None:
        response = http.post(PATH, json={"model": "none", "input": "hello"})
        assert expect_error(response, 404)["code"] == "model_not_found"


def _input_text(text: str) -> dict[str, Any]:
    return {"type": "input_text", "text": text}


def _reasoning_text(text: str) -> dict[str, Any]:
    return {"type": "reasoning_text", "text": text}


def _chat_call(call_id: str) -> dict[str, Any]:
    function = {"name": "add", "arguments": '{"a": 1}'}
    return {"id": call_id, "type": "function", "function": function}
