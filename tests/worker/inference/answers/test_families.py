"""Answers of each family, in the form that its shipped template teaches, read while generated."""

import json
from functools import cache
from typing import Any

import pytest
from llguidance import LLMatcher

from app.wire.engine import ChatCompletionRequest
from tests.worker.inference.answers.reading import read
from tests.worker.model.rendering.shipped.chats import CHATS, WEATHER, Chat, answer, user
from tests.worker.model.rendering.shipped.families import BY_NAME, CallForm
from tests.worker.model.rendering.shipped.tokenizers import make_tokenizer
from worker.inference.answers.answer_parser import AnswerParser
from worker.inference.chat_grammar import write_grammar
from worker.inference.grammar.compiler import GrammarCompiler
from worker.inference.vocabulary import Vocabulary
from worker.model.rendering import Renderer, RenderingOptions
from worker.model.rendering.call_format import (
    NamedCalls,
    NestedForm,
    ObjectCalls,
    ParameterCalls,
)
from worker.model.rendering.rows import TrainingRow

FUNCTIONS = {
    "weather": WEATHER["function"]["parameters"],
    "plan": {
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "days": {"type": "integer"},
            "share": {"type": "number"},
            "open": {"type": "boolean"},
            "stops": {"type": "array"},
            "options": {"type": "object"},
        },
    },
    "now": {"type": "object", "properties": {}},
}
TOOLS = [
    {"type": "function", "function": {"name": name, "description": name, "parameters": parameters}}
    for name, parameters in FUNCTIONS.items()
]
families = pytest.mark.parametrize("family", BY_NAME)
# Templates that write a call instead of the text beside it, write it as reasoning, or reject it.
WITHOUT_TEXT = ("Llama 3.1", "Llama 3.2", "gpt-oss", "Mistral v3", "Mistral Nemo")


@cache
def get_renderer(family: str, *, thinking: bool = False) -> Renderer:
    tokenizer = make_tokenizer(BY_NAME[family])
    stops = tokenizer.convert_tokens_to_ids(list(BY_NAME[family].stops))
    options = RenderingOptions(now="2026-03-05T10:00:00", thinking=thinking)
    return Renderer(tokenizer, context_length=8192, eos_ids=stops, options=options)


def generate(family: str, chat: Chat, *, thinking: bool = False) -> Any:
    """Read what a model that learned the last answer of a chat generates, token by token."""
    renderer = get_renderer(family, thinking=thinking)
    rows = renderer.render_example(chat.messages, chat.tools).rows
    prompt = renderer.render_chat(chat.messages[:-1], chat.tools)
    row = next(row for row in rows if starts_with(row, prompt.ids))
    format = renderer.answer_format
    detokenizer = Vocabulary(renderer.tokenizer).new_detokenizer(format.special)
    ids = row.ids[len(prompt.ids) :].tolist()
    ends = [place for place, id in enumerate(ids) if id in renderer.stop_ids]
    pieces = [detokenizer.push(id) for id in ids[: ends[0] if ends else None]]
    parser = AnswerParser(format, FUNCTIONS, is_reasoning=prompt.begins_reasoning)
    return read(parser, [*pieces, detokenizer.flush()])


def starts_with(row: TrainingRow, prompt: list[int]) -> bool:
    size = len(prompt)
    return row.ids[:size].tolist() == prompt and bool(row.loss_mask[size])


def calling(*calls: tuple[str, Any], text: str | None = None, **more: Any) -> Chat:
    written = [
        {
            "id": f"call_{number}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)},
        }
        for number, (name, arguments) in enumerate(calls)
    ]
    return Chat([user("Please."), answer(text, tool_calls=written, **more)], TOOLS)


@families
def test_a_call(family: str) -> None:
    result = generate(family, calling(("weather", {"city": "Zürich"})))
    assert result.calls == [("weather", {"city": "Zürich"})]
    assert result.text == ""


PLAN = {
    "title": 'Zürich "by night"\n<b>1 & 2</b>, it\'s {fine}',
    "days": 3,
    "share": 0.5,
    "open": True,
    "stops": ["Bern", {"name": "Thun, or Spiez"}, [1, 2]],
    "options": {"meals": {"first": "no", "count": 2}, "guide": None},
}


@families
def test_arguments_of_every_type(family: str) -> None:
    result = generate(family, calling(("plan", PLAN)))
    assert result.calls == [("plan", PLAN)]


@pytest.mark.parametrize("family", ["Qwen2.5", "Qwen3.5", "GLM-4.5", "Gemma 4", "LFM2"])
@pytest.mark.parametrize("title", ["5", "true", "null", " a ", "[1]", '"quoted"', "", "a\n\nb\n"])
def test_texts_that_look_like_other_values(family: str, title: str) -> None:
    result = generate(family, calling(("plan", {"title": title, "days": 5})))
    assert result.calls == [("plan", {"title": title, "days": 5})]


@families
def test_a_call_without_arguments(family: str) -> None:
    assert generate(family, calling(("now", {}))).calls == [("now", {})]


@families
def test_several_calls(family: str) -> None:
    calls = [("weather", {"city": "Bern"}), ("plan", PLAN), ("weather", {"city": "Chur"})]
    result = generate(family, calling(*calls))
    # Templates that have one call per message learn the others as answers of their own.
    is_parallel = BY_NAME[family].parallel is not None
    assert result.calls == (calls if is_parallel else calls[:1])
    assert result.text == ""


@families
def test_a_text_before_a_call(family: str) -> None:
    if family in WITHOUT_TEXT:
        pytest.skip("the template does not write a text beside a call")
    result = generate(family, calling(("weather", {"city": "Bern"}), text="Let me see."))
    assert result.calls == [("weather", {"city": "Bern"})]
    assert result.text == "Let me see."


@families
@pytest.mark.parametrize("name", ["one turn", "three turns"])
def test_a_text_is_what_was_learned(family: str, name: str) -> None:
    chat = CHATS[name]
    result = generate(family, Chat(chat.messages, TOOLS))
    assert result.text == chat.messages[-1]["content"]
    assert not result.calls
    assert not result.reasoning


@families
def test_reasoning(family: str) -> None:
    chat = CHATS["reasoning"]
    result = generate(family, chat, thinking=True)
    assert result.text == "6."
    is_learned = BY_NAME[family].reasoning is not None
    assert result.reasoning == ("Three and three." if is_learned else "")


@families
def test_reasoning_before_a_call(family: str) -> None:
    if BY_NAME[family].reasoning is None or family in WITHOUT_TEXT:
        pytest.skip("the template has no reasoning beside a call")
    chat = calling(("weather", {"city": "Bern"}), reasoning_content="It may rain.")
    result = generate(family, chat, thinking=True)
    assert result.calls == [("weather", {"city": "Bern"})]
    assert (result.reasoning, result.text) == ("It may rain.", "")


def make_request(**fields: Any) -> ChatCompletionRequest:
    values = {"model": "m", "messages": [{"role": "user", "content": "Please."}], "tools": TOOLS}
    return ChatCompletionRequest.model_validate({**values, **fields})


def follows_grammar(
    family: str, request: ChatCompletionRequest, chat: Chat, **options: Any
) -> bool:
    """Check that a request's grammar allows the last answer of a chat, and its end."""
    renderer = get_renderer(family, **options)
    prompt = renderer.render_chat(chat.messages[:-1], chat.tools)
    source = LLMatcher.grammar_from_lark(write_grammar(request, prompt))
    vocabulary = Vocabulary(renderer.tokenizer)
    state = GrammarCompiler(vocabulary, renderer.stop_ids).compile(source).start()
    row = renderer.render_example(chat.messages, chat.tools).rows[0]
    for id in row.ids[len(prompt.ids) :].tolist():
        if state.is_complete:
            return True
        if not state.allowed_tokens(vocabulary.size)[id]:
            return False
        if id in renderer.stop_ids:
            return True
        state.advance(id)
    return state.is_complete


FORMS = {
    CallForm.OBJECT: ObjectCalls,
    CallForm.NAMED: NamedCalls,
    CallForm.PARAMETERS: ParameterCalls,
}


@families
def test_the_form_of_calls_is_found(family: str) -> None:
    found = get_renderer(family).answer_format.calls
    assert isinstance(found, FORMS[BY_NAME[family].form])
    if isinstance(found, ParameterCalls):
        is_gemma = family == "Gemma 4"
        assert found.nested is (NestedForm.ALIKE if is_gemma else NestedForm.JSON)
        assert found.is_sorted == is_gemma


@families
def test_a_forced_call_is_what_was_learned(family: str) -> None:
    chat = calling(("weather", {"city": "Bern"}))
    request = make_request(tool_choice={"type": "function", "function": {"name": "weather"}})
    assert follows_grammar(family, request, chat)
    assert not follows_grammar(family, request, calling(("plan", PLAN)))


@families
def test_several_forced_calls_are_what_was_learned(family: str) -> None:
    """Of arguments of every type, none, and in the white space that the template writes."""
    calls = [("plan", PLAN), ("now", {}), ("weather", {"city": "Chur"})]
    is_parallel = BY_NAME[family].parallel is not None
    chat = calling(*calls if is_parallel else calls[:1])
    assert follows_grammar(family, make_request(tool_choice="required"), chat)


JSON_FORMAT = {
    "type": "json_schema",
    "json_schema": {
        "name": "answer",
        "schema": {"type": "object", "properties": {"sum": {"type": "integer"}}},
    },
}


@families
def test_json_or_a_call_is_what_was_learned(family: str) -> None:
    request = make_request(response_format=JSON_FORMAT)
    said = Chat([user("Please."), answer('{"sum": 6}')], TOOLS)
    assert follows_grammar(family, request, said)
    assert follows_grammar(family, request, calling(("weather", {"city": "Bern"})))
    assert not follows_grammar(family, request, Chat([user("Please."), answer("Six.")], TOOLS))


@families
@pytest.mark.parametrize("wanted", ["JSON", "JSON without tools", "a call"])
def test_reasoning_before_what_is_wanted(family: str, wanted: str) -> None:
    if BY_NAME[family].reasoning is None:
        pytest.skip("the template has no reasoning")
    thought = {"reasoning_content": "It is {6}.\nOr <b>?"}
    if wanted == "a call":
        if family in WITHOUT_TEXT:
            pytest.skip("the template has no reasoning beside a call")
        chat = calling(("weather", {"city": "Bern"}), **thought)
        request = make_request(tool_choice="required")
    else:
        tools = TOOLS if wanted == "JSON" else []
        chat = Chat([user("Please."), answer('{"sum": 6}', **thought)], tools)
        request = make_request(response_format=JSON_FORMAT, tools=tools or None)
    assert follows_grammar(family, request, chat, thinking=True)
