"""OpenAI's SDK, in the version of those libraries: parse and stream with models and tools."""

from typing import Any

import pytest
from inputs import MODEL, QUESTION, Customer
from openai import OpenAI, pydantic_function_tool

ASK: Any = [{"role": "user", "content": QUESTION}]
TOOLS: Any = [pydantic_function_tool(Customer, name="store_customer")]
REQUEST: Any = {"model": MODEL, "messages": ASK, "temperature": 0, "max_completion_tokens": 300}


@pytest.fixture
def client() -> OpenAI:
    return OpenAI(max_retries=0)


def test_a_parsed_model(client: OpenAI) -> None:
    answer = client.chat.completions.parse(**REQUEST, response_format=Customer)
    assert isinstance(answer.choices[0].message.parsed, Customer)


def test_a_streamed_model(client: OpenAI) -> None:
    with client.chat.completions.stream(**REQUEST, response_format=Customer) as stream:
        message = stream.get_final_completion().choices[0].message
    assert isinstance(message.parsed, Customer)


def test_a_streamed_call_round_trip(client: OpenAI) -> None:
    fields: Any = {**REQUEST, "tools": TOOLS, "parallel_tool_calls": False}
    with client.chat.completions.stream(**fields, tool_choice="required") as stream:
        kinds = {event.type for event in stream}
        choice = stream.get_final_completion().choices[0]
    assert "tool_calls.function.arguments.done" in kinds
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls or ()
    assert isinstance(call.function.parsed_arguments, Customer)
    result = {"role": "tool", "tool_call_id": call.id, "content": "stored"}
    messages = [*ASK, choice.message.to_dict(), result]
    with client.chat.completions.stream(**{**fields, "messages": messages}) as stream:
        last = stream.get_final_completion()
    assert last.choices[0].message.content or last.choices[0].message.tool_calls


def test_a_model_beside_tools(client: OpenAI) -> None:
    answer = client.chat.completions.parse(**REQUEST, tools=TOOLS, response_format=Customer)
    message = answer.choices[0].message
    calls = [call.function.parsed_arguments for call in message.tool_calls or ()]
    assert all(isinstance(value, Customer) for value in calls or [message.parsed])
