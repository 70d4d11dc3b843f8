"""OpenAI's Agents SDK on responses, its default, and on chat completions.

A text, a function tool, an output type, both, and earlier responses.
"""

import asyncio
from typing import Any

import agents
import pytest
from inputs import MODEL, QUESTION, Customer, look_up_weather
from openai import AsyncOpenAI


@pytest.fixture
def used() -> list[str]:
    return []


@pytest.fixture(params=["responses", "chat"])
def api(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make_agent(api: str, used: list[str]) -> Any:
    client = AsyncOpenAI(max_retries=0)
    agents.set_default_openai_client(client, use_for_tracing=False)

    def make(*, with_tool: bool, **fields: Any) -> agents.Agent:
        def weather(city: str) -> str:
            """Look up the weather of a city."""
            used.append(city)
            return look_up_weather("Bern")

        # A call is required once; the SDK then leaves the choice to the model, without the tool.
        choice = "required" if with_tool else None
        settings = agents.ModelSettings(max_tokens=300, temperature=0, tool_choice=choice)
        on_chat = agents.OpenAIChatCompletionsModel(MODEL, client)
        return agents.Agent(
            name="desk",
            instructions="Help the customer.",
            model=MODEL if api == "responses" else on_chat,
            model_settings=settings,
            # An untuned model that may call a function might call it for ever.
            tools=[agents.function_tool(weather, is_enabled=lambda *_: not used)]
            if with_tool
            else [],
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


async def run_streamed(agent: agents.Agent, question: str) -> tuple[Any, set[str]]:
    """The result, and the kinds of the API's events."""
    kinds = set()
    result = agents.Runner.run_streamed(agent, question)
    async for event in result.stream_events():
        if event.type == "raw_response_event":
            kinds.add(event.data.type)
    return result, kinds


def test_a_text(make_agent: Any) -> None:
    result = agents.Runner.run_sync(make_agent(with_tool=False), "Hello!")
    assert result.final_output
    assert result.context_wrapper.usage.output_tokens > 0


def test_a_streamed_output_type(make_agent: Any) -> None:
    # Not a text: the SDK raises if a stream ends at the limit of tokens.
    agent = make_agent(with_tool=False, output_type=Customer)
    result, kinds = asyncio.run(run_streamed(agent, QUESTION))
    assert isinstance(result.final_output, Customer)
    assert {"response.output_text.delta", "response.completed"} <= kinds


@pytest.mark.parametrize("streamed", [False, True])
def test_an_output_type_beside_a_tool(make_agent: Any, used: list[str], streamed: bool) -> None:
    agent = make_agent(with_tool=True, output_type=Customer)
    if streamed:
        result, _ = asyncio.run(run_streamed(agent, QUESTION))
    else:
        result = asyncio.run(agents.Runner.run(agent, QUESTION))
    assert isinstance(result.final_output, Customer)
    assert used


@pytest.mark.parametrize("api", ["responses"], indirect=True)
def test_an_earlier_response(make_agent: Any) -> None:
    agent = make_agent(with_tool=False, output_type=Customer)

    async def run() -> tuple[Any, Any]:
        first = await agents.Runner.run(agent, QUESTION)
        earlier = first.last_response_id
        return first, await agents.Runner.run(agent, QUESTION, previous_response_id=earlier)

    first, second = asyncio.run(run())
    assert isinstance(second.final_output, Customer)
    tokens = [each.context_wrapper.usage.input_tokens for each in (first, second)]
    assert tokens[1] > tokens[0]
