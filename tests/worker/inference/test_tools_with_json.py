"""Tools and `response_format` in one request, as agents with an output type send them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from openai import BadRequestError, OpenAI, pydantic_function_tool
from pydantic import BaseModel, ConfigDict
from transformers import PreTrainedTokenizerFast

from app.catalog import CatalogModel
from tests.worker.inference.running_engine import EngineClient, catalog_entry, running_engine
from tests.worker.inference.scripted import Script, script_answers

ASK: Any = [{"role": "user", "content": "Lamp?"}]


class Place(BaseModel):
    """Is referred to, as nested models are."""

    model_config = ConfigDict(extra="forbid")

    room: Literal["kitchen", "hall"]


class Lamp(BaseModel):
    """Switches a lamp."""

    place: Place
    on: bool


class Report(BaseModel):
    model_config = ConfigDict(extra="forbid")

    state: Literal["on", "off", "<tool_call>"]


TOOLS: Any = [pydantic_function_tool(Lamp, name="lamp")]
ARGUMENTS = '{"place": {"room": "hall"}, "on": true}'
CALL = f'<tool_call>\n{{"name": "lamp", "arguments": {ARGUMENTS}}}\n</tool_call>'


@pytest.fixture(scope="module")
def engine(
    base_folder: Path, base_model: CatalogModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EngineClient]:
    home = tmp_path_factory.mktemp("engine")
    with running_engine(home, catalog_entry(base_model, context_length=4096)) as engine:
        yield engine


@pytest.fixture
def client(engine: EngineClient) -> Iterator[OpenAI]:
    with engine.client as client:
        yield client


@pytest.fixture
def ask(client: OpenAI) -> Any:
    def parse(**changes: Any) -> Any:
        fields: Any = {"model": "tiny", "messages": ASK, "tools": TOOLS, "response_format": Report}
        values = {**fields, **changes}
        return client.chat.completions.parse(max_tokens=300, **values)

    return parse


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tokenizer: PreTrainedTokenizerFast) -> Script:
    return script_answers(monkeypatch, tokenizer)


def test_a_call(ask: Any, script: Script) -> None:
    script.write(f"{CALL}\n{CALL}")
    (choice,) = ask().choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    calls = [call.function.parsed_arguments for call in choice.message.tool_calls]
    assert calls == [Lamp(place=Place(room="hall"), on=True)] * 2


def test_json(ask: Any, script: Script) -> None:
    script.write('{"state": "off"}')
    (choice,) = ask().choices
    assert (choice.finish_reason, choice.message.parsed) == ("stop", Report(state="off"))
    assert not choice.message.tool_calls


def test_json_that_quotes_a_call(ask: Any, script: Script) -> None:
    script.write('{"state": "<tool_call>"}')
    (choice,) = ask().choices
    assert choice.message.parsed == Report(state="<tool_call>")


def test_no_other_text(ask: Any, script: Script) -> None:
    script.write("The lamp is on.")
    response = ask(n=2)
    for choice in response.choices:
        assert bool(choice.message.parsed) != bool(choice.message.tool_calls)


@pytest.mark.parametrize("text", [CALL, '{"state": "on"}'])
def test_streams(client: OpenAI, script: Script, text: str) -> None:
    script.write(text)
    request: Any = {"model": "tiny", "messages": ASK, "tools": TOOLS, "response_format": Report}
    with client.chat.completions.stream(**request) as stream:
        message = stream.get_final_completion().choices[0].message
    if text == CALL:
        (call,) = message.tool_calls or ()
        assert call.function.parsed_arguments == Lamp(place=Place(room="hall"), on=True)
    else:
        assert message.parsed == Report(state="on")


def test_any_json_object(ask: Any, script: Script) -> None:
    messages = [{"role": "user", "content": "Lamp? In JSON."}]
    script.write('{"a": [1]}')
    fields: Any = {"response_format": {"type": "json_object"}, "messages": messages}
    (choice,) = ask(**fields).choices
    assert json.loads(choice.message.content) == {"a": [1]}


def test_a_required_call_comes_before_json(ask: Any, script: Script) -> None:
    script.write('{"state": "on"}')
    (choice,) = ask(tool_choice="required", parallel_tool_calls=False).choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls[0].function.parsed_arguments.place.room in ("kitchen", "hall")


def test_a_forced_call_has_no_other_arguments(client: OpenAI) -> None:
    parameters = {"type": "object", "properties": {"on": {"type": "boolean"}}}
    function = {"name": "lamp", "parameters": parameters}
    response: Any = client.chat.completions.create(
        model="tiny",
        messages=ASK,
        tools=[{"type": "function", "function": function}],
        tool_choice="required",
        parallel_tool_calls=False,
        max_tokens=200,
        n=4,
        seed=1,
    )
    for choice in response.choices:
        (call,) = choice.message.tool_calls
        assert set(json.loads(call.function.arguments)) <= {"on"}


def test_without_choice_of_tools_there_is_json(ask: Any, script: Script) -> None:
    script.write(CALL)
    (choice,) = ask(tool_choice="none").choices
    assert choice.message.parsed is not None


@pytest.mark.parametrize(
    ("field", "part", "param"),
    [
        ("tools", {"$ref": "https://a.b/c"}, "tools[0].function.parameters"),
        ("tools", {"type": "string", "pattern": "(?=a)b"}, "tools[0].function.parameters"),
        ("response_format", {"$ref": "https://a.b/c"}, "response_format"),
        ("response_format", {"type": "string", "pattern": "(?=a)b"}, "response_format"),
    ],
)
def test_the_schema_that_is_invalid_is_named(
    client: OpenAI, field: str, part: Any, param: str
) -> None:
    wrong = {"type": "object", "properties": {"a": part}}
    right: dict[str, Any] = {"type": "object", "properties": {}}
    schemas = {"tools": right, "response_format": right} | {field: wrong}
    tool = {"type": "function", "function": {"name": "f", "parameters": schemas["tools"]}}
    wanted = {"name": "r", "schema": schemas["response_format"]}
    request: Any = {
        "tools": [tool],
        "response_format": {"type": "json_schema", "json_schema": wanted},
    }
    with pytest.raises(BadRequestError) as raised:
        client.chat.completions.create(model="tiny", messages=ASK, **request)
    assert raised.value.param == param
