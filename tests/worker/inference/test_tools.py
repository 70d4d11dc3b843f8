"""Tools over HTTP with the official SDK. The model's answers are written by the tests."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from openai import BadRequestError, OpenAI, pydantic_function_tool
from pydantic import BaseModel
from transformers import PreTrainedTokenizerFast

from app.catalog import CatalogModel
from tests.worker.inference.running_engine import EngineClient, catalog_entry, running_engine
from tests.worker.inference.scripted import Script, script_answers
from worker.inference.grammar.grammar import GrammarState

ASK: Any = [{"role": "user", "content": "Weather?"}]


class Weather(BaseModel):
    """The weather of a city."""

    city: str
    unit: Literal["C", "F"] = "C"


class Time(BaseModel):
    """The time of a city."""

    city: str


class Lamp(BaseModel):
    """Switches a lamp."""

    room: Literal["kitchen", "hall"]
    on: bool


class Door(BaseModel):
    """Locks a door."""

    side: Literal["front", "back"]


TOOLS: Any = [
    pydantic_function_tool(Weather, name="weather"),
    pydantic_function_tool(Time, name="time"),
]
FUNCTIONS: Any = [tool["function"] for tool in TOOLS]
# Their calls are free, whatever the model writes.
LOOSE: Any = [
    {"type": "function", "function": {**function, "strict": False}} for function in FUNCTIONS
]
CALL = (
    '<tool_call>\n{"name": "weather", "arguments": {"city": "Zürich", "unit": "F"}}\n</tool_call>'
)
OTHER = '<tool_call>\n{"name": "time", "arguments": {"city": "Bern"}}\n</tool_call>'
ARGUMENTS = {"city": "Zürich", "unit": "F"}
STRICT: Any = [pydantic_function_tool(Lamp, name="lamp"), pydantic_function_tool(Door)]
# Neither is one of a lamp's values.
WRONG = '<tool_call>\n{"name": "lamp", "arguments": {"room": "garden", "on": 5}}\n</tool_call>'


@pytest.fixture(scope="module")
def engine(
    base_folder: Path, base_model: CatalogModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EngineClient]:
    home = tmp_path_factory.mktemp("engine")
    with running_engine(home, catalog_entry(base_model, context_length=4096)) as engine:
        yield engine


@pytest.fixture
def client(engine: EngineClient) -> OpenAI:
    return engine.client


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tokenizer: PreTrainedTokenizerFast) -> Script:
    return script_answers(monkeypatch, tokenizer)


@pytest.fixture
def ask(client: OpenAI) -> Any:
    def create(**changes: Any) -> Any:
        fields = {"model": "tiny", "messages": ASK, "tools": TOOLS, "max_tokens": 300}
        values = {**fields, **changes}
        return client.chat.completions.create(
            **{name: value for name, value in values.items() if value is not None}
        )

    return create


class TestResponse:
    def test_a_call(self, ask: Any, script: Script) -> None:
        script.write(CALL)
        (choice,) = ask().choices
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content is None
        (call,) = choice.message.tool_calls
        assert call.id.startswith("call_")
        assert (call.type, call.function.name) == ("function", "weather")
        assert json.loads(call.function.arguments) == ARGUMENTS

    def test_a_text_and_two_calls(self, ask: Any, script: Script) -> None:
        script.write(f"Let me see.\n{CALL}\n{OTHER}")
        (choice,) = ask().choices
        assert choice.message.content == "Let me see."
        first, second = choice.message.tool_calls
        assert (first.function.name, second.function.name) == ("weather", "time")
        assert first.id != second.id

    def test_at_most_one_call_without_parallel_tool_calls(self, ask: Any, script: Script) -> None:
        script.write(f"{CALL}\n{OTHER}")
        response = ask(parallel_tool_calls=False)
        (call,) = response.choices[0].message.tool_calls
        assert call.function.name == "weather"
        assert response.choices[0].finish_reason == "tool_calls"
        # The second call is not generated.
        assert response.usage.completion_tokens < len((CALL + OTHER).encode())

    @pytest.mark.parametrize(
        "text",
        [
            CALL.replace("weather", "unknown"),
            "<tool_call>\nno call\n</tool_call>",
            '<tool_call>\n["weather"]\n</tool_call>',
            "<tool_call>",
            "a < b, <tool> and <tool_call",
        ],
    )
    def test_what_is_no_call_stays_text(self, ask: Any, script: Script, text: str) -> None:
        script.write(text)
        (choice,) = ask(tools=LOOSE).choices
        assert choice.message.content == text
        assert choice.message.tool_calls is None
        assert choice.finish_reason == "stop"

    def test_a_call_that_is_cut_has_the_reason_length(self, ask: Any, script: Script) -> None:
        script.write(CALL)
        (choice,) = ask(max_tokens=len(CALL.partition('"F"')[0].encode())).choices
        assert choice.finish_reason == "length"
        (call,) = choice.message.tool_calls
        assert call.function.name == "weather"
        assert call.function.arguments.startswith('{"city": "Zürich"')
        assert not call.function.arguments.endswith("}")

    def test_choices_of_one_request(self, ask: Any, script: Script) -> None:
        script.write(CALL, "No idea.", OTHER)
        choices = ask(n=3).choices
        assert [choice.finish_reason for choice in choices] == ["tool_calls", "stop", "tool_calls"]
        assert [choice.message.content for choice in choices] == [None, "No idea.", None]

    def test_logprobs_are_those_of_all_tokens(self, ask: Any, script: Script) -> None:
        script.write(CALL)
        choice = ask(logprobs=True).choices[0]
        text = b"".join(bytes(token.bytes) for token in choice.logprobs.content).decode()
        assert text == CALL

    def test_a_stop_string_ends_a_call(self, ask: Any, script: Script) -> None:
        script.write(f"{CALL} And then.")
        choice = ask(stop=[" And"]).choices[0]
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content is None


class TestStream:
    def test_the_name_comes_first_then_arguments(self, ask: Any, script: Script) -> None:
        script.write(f"See:\n{CALL}\n{OTHER}")
        chunks = [chunk.choices[0] for chunk in ask(stream=True)]
        deltas = [chunk.delta for chunk in chunks]
        text = "".join(delta.content or "" for delta in deltas)
        assert text == "See:"
        calls = [call for delta in deltas for call in delta.tool_calls or ()]
        begins = [call for call in calls if call.id is not None]
        assert [(c.index, c.type, c.function.name, c.function.arguments) for c in begins] == [
            (0, "function", "weather", ""),
            (1, "function", "time", ""),
        ]
        pieces = [call.function.arguments for call in calls if call.index == 0]
        assert len(pieces) > 10
        assert json.loads("".join(pieces)) == ARGUMENTS
        assert chunks[-1].finish_reason == "tool_calls"

    def test_the_sdks_stream_parses_arguments(self, client: OpenAI, script: Script) -> None:
        script.write(CALL)
        request: Any = {"model": "tiny", "messages": ASK, "tools": TOOLS}
        with client.chat.completions.stream(**request) as stream:
            kinds = [event.type for event in stream]
            message = stream.get_final_completion().choices[0].message
        assert "tool_calls.function.arguments.delta" in kinds
        assert "tool_calls.function.arguments.done" in kinds
        assert message.tool_calls is not None
        assert message.tool_calls[0].function.parsed_arguments == Weather(city="Zürich", unit="F")

    def test_the_sdks_parse(self, client: OpenAI, script: Script) -> None:
        script.write(CALL)
        response = client.chat.completions.parse(model="tiny", messages=ASK, tools=TOOLS)
        calls = response.choices[0].message.tool_calls
        assert calls is not None
        assert calls[0].function.parsed_arguments == Weather(city="Zürich", unit="F")


class TestChoice:
    def test_none_answers_without_tools_in_the_prompt(self, ask: Any, script: Script) -> None:
        script.write(CALL)
        response, plain = ask(tool_choice="none"), ask(tools=None)
        assert response.choices[0].message.content == CALL
        assert response.choices[0].message.tool_calls is None
        assert response.usage.prompt_tokens == plain.usage.prompt_tokens
        assert ask().usage.prompt_tokens > plain.usage.prompt_tokens

    def test_only_allowed_tools_are_called(self, ask: Any, script: Script) -> None:
        script.write(f"{CALL}\n{OTHER}")
        allowed = {"mode": "auto", "tools": [{"type": "function", "function": {"name": "time"}}]}
        choice = {"type": "allowed_tools", "allowed_tools": allowed}
        message = ask(tools=LOOSE, tool_choice=choice)
        (call,) = message.choices[0].message.tool_calls
        assert call.function.name == "time"
        assert message.choices[0].message.content == CALL

    def test_required_calls_of_an_untrained_model(self, ask: Any) -> None:
        tools = [pydantic_function_tool(Lamp, name="lamp"), pydantic_function_tool(Door)]
        response = ask(tools=tools, tool_choice="required", parallel_tool_calls=False, n=4, seed=1)
        names = set()
        for choice in response.choices:
            assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
            (call,) = choice.message.tool_calls
            names.add(call.function.name)
            model: type[BaseModel] = Lamp if call.function.name == "lamp" else Door
            model.model_validate_json(call.function.arguments)
        assert names <= {"lamp", "Door"}

    @pytest.mark.parametrize("name", ["weather", "time"])
    def test_a_named_call(self, ask: Any, script: Script, name: str) -> None:
        # The model would write the other function's call.
        script.write(CALL if name == "time" else OTHER)
        choice = {"type": "function", "function": {"name": name}}
        response = ask(tool_choice=choice, max_tokens=200)
        assert response.choices[0].message.tool_calls[0].function.name == name

    def test_a_schema_that_cannot_be_forced(self, ask: Any) -> None:
        parameters = {"type": "object", "properties": {"a": {"$ref": "https://a.b/c"}}}
        tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
        with pytest.raises(BadRequestError) as raised:
            ask(tools=[tool], tool_choice="required")
        assert raised.value.param == "tools[0].function.parameters"

    def test_a_schema_that_cannot_be_compiled_is_that_of_one_function(self, ask: Any) -> None:
        tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "bogus"}}}
        with pytest.raises(BadRequestError, match="function 'f'") as raised:
            ask(tools=[*TOOLS, tool], tool_choice="required")
        assert raised.value.param == f"tools[{len(TOOLS)}].function.parameters"
        assert "start:" not in raised.value.message, "the grammar's source is of no use to clients"

    def test_legacy_functions(self, ask: Any, script: Script) -> None:
        script.write(CALL)
        (choice,) = ask(tools=None, functions=FUNCTIONS).choices
        assert choice.finish_reason == "function_call"
        assert choice.message.function_call.name == "weather"
        assert json.loads(choice.message.function_call.arguments) == ARGUMENTS
        chunks = list(ask(tools=None, functions=FUNCTIONS, function_call="auto", stream=True))
        calls = [c for chunk in chunks if (c := chunk.choices[0].delta.function_call)]
        assert calls[0].name == "weather"
        assert json.loads("".join(call.arguments for call in calls)) == ARGUMENTS

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"tools": TOOLS * 65}, "tools"),
            ({"tools": TOOLS * 2}, "tools"),
            ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
            ({"tools": [{"type": "function"}]}, "tools[0].function"),
            *(
                (
                    {"tools": [{"type": "function", "function": {"name": name}}]},
                    "tools[0].function.name",
                )
                for name in ("", "a b", "é", "x" * 65, 5)
            ),
            (
                {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
                "tools[0].function.parameters",
            ),
            ({"tool_choice": "sometimes"}, "tool_choice"),
            (
                {
                    "tool_choice": {
                        "type": "allowed_tools",
                        "allowed_tools": {"mode": "required", "tools": []},
                    }
                },
                "tool_choice",
            ),
            ({"tools": None, "tool_choice": "required"}, "tool_choice"),
            ({"tools": None, "functions": FUNCTIONS * 2}, "functions"),
            ({"tools": None, "functions": FUNCTIONS, "function_call": "often"}, "function_call"),
            ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
        ],
    )
    def test_refused(self, ask: Any, fields: Any, param: str) -> None:
        with pytest.raises(BadRequestError) as raised:
            ask(**fields)
        assert raised.value.param == param

    def test_a_function_that_is_not_defined(self, ask: Any) -> None:
        choice = {"type": "function", "function": {"name": "unknown"}}
        with pytest.raises(BadRequestError, match="'unknown'"):
            ask(tool_choice=choice)


class TestStrict:
    """Calls of strict functions in answers that are free otherwise."""

    def test_a_call_follows_its_schema_after_a_free_text(self, ask: Any, script: Script) -> None:
        script.write(f"Let me {{see.\n{WRONG}")
        (choice,) = ask(tools=STRICT, parallel_tool_calls=False).choices
        assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Let me {see.")
        (call,) = choice.message.tool_calls
        assert call.function.name == "lamp"
        Lamp.model_validate_json(call.function.arguments)

    def test_each_call_and_the_text_after_them(self, ask: Any, script: Script) -> None:
        door = '<tool_call>{"name": "Door", "arguments": {"side": "front"}}</tool_call>'
        script.write(f"{door}\n{door} Done.")
        (choice,) = ask(tools=STRICT).choices
        assert [call.function.name for call in choice.message.tool_calls] == ["Door", "Door"]
        assert choice.message.content == "Done."

    def test_the_name_of_a_function_that_is_not_offered(self, ask: Any, script: Script) -> None:
        script.write(WRONG.replace("lamp", "radio"))
        (choice,) = ask(tools=STRICT, parallel_tool_calls=False).choices
        assert choice.message.tool_calls[0].function.name in ("lamp", "Door")

    def test_a_stream(self, client: OpenAI, script: Script) -> None:
        script.write(f"See:\n{WRONG}")
        request: Any = {"model": "tiny", "messages": ASK, "tools": STRICT}
        with client.chat.completions.stream(**request, parallel_tool_calls=False) as stream:
            message = stream.get_final_completion().choices[0].message
        assert message.content == "See:"
        (call,) = message.tool_calls or ()
        assert isinstance(call.function.parsed_arguments, Lamp)

    def test_a_text_is_free_and_no_mask_is_computed(
        self, ask: Any, script: Script, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        computed: list[int] = []
        monkeypatch.setattr(GrammarState, "logit_limits", lambda *_: computed.append(1))
        text = '{"name": "lamp"} <tool and </tool_call>'
        script.write(text)
        (choice,) = ask(tools=STRICT).choices
        assert (choice.finish_reason, choice.message.content) == ("stop", text)
        # One when the grammar is compiled.
        assert len(computed) <= 1

    def test_functions_that_are_not_strict_stay_free(self, ask: Any, script: Script) -> None:
        loose = {
            "type": "function",
            "function": {"name": "note", "parameters": Lamp.model_json_schema()},
        }
        script.write(WRONG.replace("lamp", "note"))
        (choice,) = ask(tools=[*STRICT, loose]).choices
        (call,) = choice.message.tool_calls
        assert json.loads(call.function.arguments) == {"room": "garden", "on": 5}

    def test_a_schema_that_breaks_the_rules_of_strict(self, ask: Any) -> None:
        function = {"name": "f", "strict": True, "parameters": {"type": "object", "properties": {}}}
        with pytest.raises(BadRequestError, match="additionalProperties") as raised:
            ask(tools=[*TOOLS, {"type": "function", "function": function}])
        assert raised.value.param == f"tools[{len(TOOLS)}].function.parameters"
