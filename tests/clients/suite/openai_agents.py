"""OpenAI's Agents SDK on chat completions: a function tool, an output type, and both."""

import asyncio
from typing import Any

import agents
import pytest
from inputs import MODEL, QUESTION, Customer, look_up_weather
from openai import AsyncOpenAI


@pytest.fixture
def used() -> list[str]:
    return []


@pytest.fixture
def make_agent(used: list[str]) -> Any:
    def make(*, with_tool: bool, **fields: Any) -> agents.Agent:
        def weather(city: str) -> str:
            """Look up the weather of a city."""
            used.append(city)
            return look_up_weather("Bern")

        # A call is required once; the SDK then leaves the choice to the model.
        choice = "required" if with_tool else None
        settings = agents.ModelSettings(max_tokens=300, temperature=0, tool_choice=choice)
        return agents.Agent(
            name="desk",
            instructions="Help the customer.",
            model=agents.OpenAIChatCompletionsModel(MODEL, AsyncOpenAI(max_retries=0)),
            model_settings=settings,
            tools=[agents.function_tool(weather)] if with_tool else [],
            **fields,
        )

    agents.set_tracing_disabled(True)
    return make


def test_a_function_tool(make_agent: Any, used: list[str]) -> None:
    agent = make_agent(with_tool=True, tool_use_behavior="stop_on_first_tool")
    result = agents.Runner.run_sync(agent, "How is the weather in Bern?")
    assert result.final_output == "sunny in Bern"
    assert used


def test_an_output_type(make_agent: Any) -> None:
    agent = make_agent(with_tool=False, output_type=Customer)
    assert isinstance(agents.Runner.run_sync(agent, QUESTION).final_output, Customer)


@pytest.mark.parametrize("streamed", [False, True])
def test_an_output_type_beside_a_tool(make_agent: Any, used: list[str], streamed: bool) -> None:
    agent = make_agent(with_tool=True, output_type=Customer)

    async def run() -> Any:
        if not streamed:
            return await agents.Runner.run(agent, QUESTION)
        result = agents.Runner.run_streamed(agent, QUESTION)
        async for _ in result.stream_events():
            pass
        return result

    assert isinstance(asyncio.run(run()).final_output, Customer)
    assert used
