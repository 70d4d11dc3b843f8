"""pydantic-ai on chat completions and on responses: a text, and an output type, by a tool and by
JSON, alone and with tools."""

import asyncio
from typing import Any

import pytest
from inputs import MODEL, QUESTION, Customer, look_up_weather
from openai import AsyncOpenAI
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

OUTPUTS = {
    "default": Customer,
    "tool": ToolOutput(Customer),
    "JSON": NativeOutput(Customer),
}

SETTINGS: Any = {"max_tokens": 300, "temperature": 0.0}
Model = OpenAIChatModel | OpenAIResponsesModel


@pytest.fixture(params=[OpenAIChatModel, OpenAIResponsesModel], ids=["chat", "responses"])
def model(request: pytest.FixtureRequest) -> Model:
    # A client belongs to the event loop of one test.
    provider = OpenAIProvider(openai_client=AsyncOpenAI(max_retries=0))
    return request.param(MODEL, provider=provider)


@pytest.mark.parametrize("output", OUTPUTS)
def test_an_output_type(model: Model, output: str) -> None:
    agent = Agent(model, output_type=OUTPUTS[output], model_settings={"max_tokens": 300})
    assert isinstance(agent.run_sync(QUESTION).output, Customer)


def test_json_beside_tools(model: Model) -> None:
    agent = Agent(
        model,
        output_type=NativeOutput(Customer),
        tools=[look_up_weather],
        model_settings=SETTINGS,
    )
    assert isinstance(agent.run_sync(QUESTION).output, Customer)


async def stream(model: Model, **fields: Any) -> Any:
    agent = Agent(model, model_settings=SETTINGS, **fields)
    async with agent.run_stream(QUESTION) as result:
        return await result.get_output()


def test_a_stream(model: Model) -> None:
    assert isinstance(asyncio.run(stream(model, output_type=NativeOutput(Customer))), Customer)


def test_a_streamed_text(model: Model) -> None:
    assert asyncio.run(stream(model))


def test_a_text(model: Model) -> None:
    result = Agent(model, model_settings=SETTINGS).run_sync("Hello!")
    assert result.output
    assert result.usage.output_tokens > 0


@pytest.mark.parametrize("model", [OpenAIResponsesModel], indirect=True)
def test_an_earlier_response(model: Model) -> None:
    agent = Agent(model, model_settings=SETTINGS | {"openai_previous_response_id": "auto"})
    first = agent.run_sync("My name is Anna.")
    second = agent.run_sync("What is my name?", message_history=first.all_messages())
    assert second.output
    assert second.usage.input_tokens > first.usage.input_tokens
