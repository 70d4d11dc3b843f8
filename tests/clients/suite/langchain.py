"""LangChain's ChatOpenAI on chat completions and on responses.

Its bind_tools, with_structured_output by each of its methods, streams, and earlier responses.
"""

from functools import reduce
from operator import add
from typing import Any

import pytest
from inputs import MODEL, QUESTION, Customer, look_up_weather
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

weather = tool(look_up_weather)
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")


def make_model(**fields: Any) -> ChatOpenAI:
    return ChatOpenAI(model=MODEL, max_tokens=300, temperature=0, max_retries=0, **fields)


@pytest.fixture(params=[False, True], ids=["chat", "responses"])
def model(request: pytest.FixtureRequest) -> ChatOpenAI:
    return make_model(use_responses_api=request.param)


def assert_is_finished(answer: AIMessage) -> None:
    """Responses have a status in place of a reason."""
    metadata = answer.response_metadata
    if answer.id.startswith("resp_"):
        assert metadata["status"] in ("completed", "incomplete")
        assert answer.usage_metadata["output_tokens"] > 0
    else:
        # The usage of a stream is not asked for here.
        assert metadata["finish_reason"] in ("stop", "length", "tool_calls")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"method": "json_schema"},
        {"method": "json_schema", "strict": False},
        {"method": "function_calling"},
        {"method": "function_calling", "strict": True},
        {"include_raw": True},
    ],
    ids=str,
)
def test_structured_output(model: ChatOpenAI, options: dict[str, Any]) -> None:
    answer = model.with_structured_output(Customer, **options).invoke(QUESTION)
    customer = answer["parsed"] if "include_raw" in options else answer
    assert isinstance(customer, Customer)


def test_json_mode(model: ChatOpenAI) -> None:
    # Without a schema, an untuned model may write JSON for ever unless it has one to copy.
    question = 'Answer with this JSON: {"name": "Anna"}'
    answer = model.with_structured_output({"title": "any"}, method="json_mode").invoke(question)
    assert isinstance(answer, dict)


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_streamed_structured_output(model: ChatOpenAI, method: Any) -> None:
    *_, last = model.with_structured_output(Customer, method=method).stream(QUESTION)
    assert isinstance(last, Customer)


@pytest.mark.parametrize("choice", ["any", "look_up_weather", True])
def test_bound_tools_round_trip(model: ChatOpenAI, choice: Any) -> None:
    question = HumanMessage("How is the weather in Bern?")
    answer = model.bind_tools([weather], tool_choice=choice).invoke([question])
    assert answer.tool_calls
    assert not answer.invalid_tool_calls
    results = [weather.invoke(call) for call in answer.tool_calls]
    assert results[0].content.startswith("sunny in")
    last = model.bind_tools([weather]).invoke([question, answer, *results])
    assert_is_finished(last)


def test_streamed_tool_calls(model: ChatOpenAI) -> None:
    chunks = model.bind_tools([weather], tool_choice="any").stream("The weather in Bern?")
    answer = reduce(add, chunks)
    assert answer.tool_calls[0]["name"] == "look_up_weather"
    assert answer.tool_calls[0]["args"]["city"] in ("Bern", "Chur")


def test_tools_that_may_be_called(model: ChatOpenAI) -> None:
    answer = model.bind_tools([weather]).invoke("Hello!")
    assert_is_finished(answer)


def test_a_stream(model: ChatOpenAI) -> None:
    answer = reduce(add, model.stream("Hello!"))
    assert answer.text
    assert_is_finished(answer)


def test_an_earlier_response() -> None:
    model = make_model(use_responses_api=True, use_previous_response_id=True)
    question = HumanMessage("How is the weather in Bern?")
    first = model.bind_tools([weather], tool_choice="any").invoke([question])
    results = [weather.invoke(call) for call in first.tool_calls]
    # Only the results are sent: the server has the question and the call.
    last = model.bind_tools([weather]).invoke([question, first, *results])
    assert last.usage_metadata["input_tokens"] > first.usage_metadata["input_tokens"]
    assert_is_finished(last)
