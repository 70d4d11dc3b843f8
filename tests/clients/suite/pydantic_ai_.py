"""pydantic-ai with an output type, by a tool and by JSON, alone and with tools."""

import pytest
from inputs import MODEL, QUESTION, Customer, look_up_weather
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel

OUTPUTS = {
    "default": Customer,
    "tool": ToolOutput(Customer),
    "JSON": NativeOutput(Customer),
}


@pytest.fixture
def model() -> OpenAIChatModel:
    return OpenAIChatModel(MODEL)


@pytest.mark.parametrize("output", OUTPUTS)
def test_an_output_type(model: OpenAIChatModel, output: str) -> None:
    agent = Agent(model, output_type=OUTPUTS[output], model_settings={"max_tokens": 300})
    assert isinstance(agent.run_sync(QUESTION).output, Customer)


def test_json_beside_tools(model: OpenAIChatModel) -> None:
    settings = {"max_tokens": 300, "temperature": 0.0}
    agent = Agent(
        model,
        output_type=NativeOutput(Customer),
        tools=[look_up_weather],
        model_settings=settings,
    )
    assert isinstance(agent.run_sync(QUESTION).output, Customer)


async def stream(model: OpenAIChatModel) -> Customer:
    agent = Agent(model, output_type=NativeOutput(Customer), model_settings={"max_tokens": 300})
    async with agent.run_stream(QUESTION) as result:
        return await result.get_output()


def test_a_stream(model: OpenAIChatModel) -> None:
    import asyncio

    assert isinstance(asyncio.run(stream(model)), Customer)
