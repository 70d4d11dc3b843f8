"""Calls of generated functions in each family's form: what a grammar writes, the reader reads.

Two ways: what the family's template writes for random arguments is allowed and read as the same
arguments; and what is written by random tokens of the grammar is read as arguments that fulfil the
schema, with the name that the grammar wrote.
"""

import json
import random
from functools import cache
from typing import Any

import pytest
import torch
from jsonschema import Draft202012Validator
from llguidance import LLMatcher

from app.errors import InvalidRequest
from app.wire.engine import ChatCompletionRequest
from tests.worker.inference.answers.reading import Answer, read
from tests.worker.inference.answers.test_families import get_renderer
from tests.worker.model.rendering.shipped.chats import answer, user
from worker.inference.answers.answer_parser import AnswerParser
from worker.inference.chat_grammar import write_grammar
from worker.inference.grammar.compiler import GrammarCompiler
from worker.inference.grammar.grammar import Grammar
from worker.inference.vocabulary import Vocabulary
from worker.model.rendering.call_format import ParameterCalls

NUM_FUNCTIONS = 12
MAX_TOKENS = 4_000
# Forms in which values are no JSON; one family of those that write them alike.
FORMS = ("Qwen3.5", "Gemma 4", "GLM-4.5", "LFM2", "Nemotron 3")
# What a form could take for a part of itself.
TEXTS = (
    "5",
    "null",
    "True",
    "it's",
    'quo"te',
    "a\nb",
    " padded ",
    "</parameter>",
    "</arg_value>",
    "),",
    "}",
    "{",
    "[x",
    "é</para\nmeter>",
    "",
    "back\\slash\\n",
)
NAMES = ("city", "days_ahead", "a-b", "c2")
Schema = dict[str, Any]


def text(rng: random.Random, depth: int) -> Schema:
    return rng.choice(
        [
            {"type": "string", "maxLength": rng.randrange(20)},
            {"type": "string", "minLength": 1, "pattern": r"^[a-c/]{1,4}\d?$"},
            {"type": "string", "format": rng.choice(["date", "uuid", "ipv4", "date-time"])},
            {"enum": rng.sample(TEXTS, 4)},
        ]
    )


def scalar(rng: random.Random, depth: int) -> Schema:
    low = rng.randrange(-50, 50)
    return rng.choice(
        [
            {"type": "integer", "minimum": low, "maximum": low + 7},
            {"type": "number", "minimum": low, "maximum": low + 7},
            {"type": "boolean"},
            {"enum": [1, 2.5, None, True, "no"]},
            {"anyOf": [{"type": "string", "maxLength": 6}, {"type": "null"}]},
            {"type": ["string", "boolean"], "maxLength": 9},
            {"$ref": "#/$defs/leaf"},
        ]
    )


def nested(rng: random.Random, depth: int) -> Schema:
    if rng.random() < 0.5:
        return {"type": "array", "items": make(rng, depth + 1), "minItems": 1, "maxItems": 3}
    return make_object(rng, depth + 1)


def make(rng: random.Random, depth: int) -> Schema:
    return rng.choice((text, scalar) if depth > 2 else (text, scalar, nested))(rng, depth)


def make_object(rng: random.Random, depth: int) -> Schema:
    names = rng.sample(NAMES, rng.randrange(1, 5))
    return {
        "type": "object",
        "properties": {name: make(rng, depth) for name in names},
        "required": [name for name in names if rng.random() < 0.6],
        "additionalProperties": False,
    }


def make_parameters(seed: int) -> Schema:
    rng = random.Random(seed)
    return {**make_object(rng, 0), "$defs": {"leaf": {"enum": ["left", "it's", "5"]}}}


def invent(schema: Schema, rng: random.Random) -> Any:
    """A value of a schema that `make` has made."""
    if "$ref" in schema:
        return rng.choice(["left", "it's"])
    if "anyOf" in schema:
        return rng.choice([None, "text"])
    if "enum" in schema:
        return rng.choice(schema["enum"])
    match schema["type"]:
        case "integer":
            return rng.randint(schema["minimum"], schema["maximum"])
        case "number":
            return schema["minimum"] + 0.5
        case "boolean":
            return rng.random() < 0.5
        case "array":
            return [invent(schema["items"], rng) for _ in range(rng.randint(1, 3))]
        case "object":
            kept = [
                name
                for name in schema["properties"]
                if name in schema["required"] or rng.random() < 0.5
            ]
            return {name: invent(schema["properties"][name], rng) for name in kept}
    if "pattern" in schema:
        return "abc/7"
    formats = {
        "date": "2026-02-28",
        "uuid": "0" * 8 + "-0000" * 3 + "-" + "0" * 12,
        "ipv4": "10.0.0.255",
        "date-time": "2026-02-28T10:00:00Z",
    }
    return formats.get(schema.get("format", ""), "it's <b>"[: schema.get("maxLength", 9)])


@cache
def get_compiler(family: str) -> GrammarCompiler:
    renderer = get_renderer(family)
    return GrammarCompiler(Vocabulary(renderer.tokenizer), renderer.stop_ids)


class Function:
    """A function with generated parameters, in the form of a family's calls."""

    def __init__(self, family: str, parameters: Schema) -> None:
        self.parameters = parameters
        self.renderer = get_renderer(family)
        self.vocabulary = Vocabulary(self.renderer.tokenizer)
        function = {"name": "plan", "description": "Plans.", "parameters": parameters}
        self.tools = [{"type": "function", "function": function}]
        self.prompt = self.renderer.render_chat([user("Please.")], self.tools)
        request = {"model": "m", "messages": [user("Please.")], "tools": self.tools}
        wanted = {**request, "tool_choice": "required", "parallel_tool_calls": False}
        source = write_grammar(ChatCompletionRequest.model_validate(wanted), self.prompt)
        lark = LLMatcher.grammar_from_lark(source)
        self.grammar: Grammar = get_compiler(family).compile(lark)

    def learn(self, arguments: Any) -> list[int]:
        """The tokens that training teaches of a call, without the end of the turn."""
        written = {"name": "plan", "arguments": json.dumps(arguments, ensure_ascii=False)}
        call = {"id": "call_1", "type": "function", "function": written}
        chat = [user("Please."), answer(None, tool_calls=[call])]
        rows = self.renderer.render_example(chat, self.tools).rows
        ids: list[int] = rows[0].ids[len(self.prompt.ids) :].tolist()
        return ids[: next(i for i, id in enumerate(ids) if id in self.renderer.stop_ids)]

    def allows(self, ids: list[int]) -> bool:
        state = self.grammar.start()
        for id in ids:
            if state.is_complete:
                # White space that the template writes after a call.
                return not self.vocabulary.decode([id]).strip()
            if not state.allowed_tokens(self.vocabulary.size)[id]:
                return False
            state.advance(id)
        return state.is_complete

    def write(self, rng: random.Random) -> list[int]:
        """Tokens that the grammar allows, by chance."""
        state, ids = self.grammar.start(), []
        while not state.is_complete:
            allowed = torch.nonzero(state.allowed_tokens(self.vocabulary.size)).flatten().tolist()
            ids.append(rng.choice(allowed))
            state.advance(ids[-1])
            assert len(ids) < MAX_TOKENS
            if ids[-1] in self.renderer.stop_ids:
                return ids[:-1]
        return ids

    def read(self, ids: list[int]) -> Answer:
        format = self.renderer.answer_format
        detokenizer = self.vocabulary.new_detokenizer(format.special)
        parser = AnswerParser(
            format,
            {"plan": self.parameters},
            is_reasoning=self.prompt.begins_reasoning,
            max_calls=1,
        )
        return read(parser, [*map(detokenizer.push, ids), detokenizer.flush()])


def is_read_as(answer: Answer, arguments: Any) -> bool:
    try:
        return answer.calls == [("plan", arguments)]
    except ValueError:
        return False


@pytest.mark.parametrize("family", FORMS)
def test_what_the_template_writes_is_allowed_if_it_is_read_as_it_was(family: str) -> None:
    """A text that contains a delimiter is neither."""
    assert isinstance(get_renderer(family).answer_format.calls, ParameterCalls)
    num_allowed = 0
    for seed in range(NUM_FUNCTIONS):
        function = Function(family, make_parameters(seed))
        for number in range(2):
            arguments = invent(function.parameters, random.Random(f"{seed}/{number}"))
            ids = function.learn(arguments)
            is_allowed = function.allows(ids)
            assert is_allowed == is_read_as(function.read(ids), arguments), arguments
            num_allowed += is_allowed
    assert num_allowed > NUM_FUNCTIONS


@pytest.mark.parametrize("family", FORMS)
def test_what_the_grammar_writes_is_read_as_arguments_of_the_schema(family: str) -> None:
    for seed in range(NUM_FUNCTIONS):
        function = Function(family, make_parameters(seed))
        written = function.write(random.Random(seed))
        answer = function.read(written)
        assert not answer.text
        ((name, arguments),) = answer.calls
        assert name == "plan"
        Draft202012Validator(function.parameters).validate(arguments)
        # The template writes the same, but for the spelling of numbers, escapes and white space.
        assert is_read_as(function.read(function.learn(arguments)), arguments)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 3}]}, "'minimum'"),
        ({"type": "string", "pattern": "a|^b"}, "pattern"),
        ({"$ref": "#/$defs/a", "minLength": 2}, "'\\$ref' beside 'minLength'"),
        ({"allOf": [{"type": "string"}, {"maxLength": 2}]}, "'allOf'"),
        ({"$ref": "#/$defs/a0"}, "too many choices"),
    ],
)
def test_what_a_form_cannot_express_is_refused_by_name(schema: Schema, reason: str) -> None:
    definitions: Schema = {"a": {"type": "string"}, "a14": {"type": "string"}}
    for number in range(14):
        # Each has twice as many alternatives as the next one.
        definitions[f"a{number}"] = {"anyOf": [{"$ref": f"#/$defs/a{number + 1}"}] * 2}
    parameters = {
        "type": "object",
        "properties": {"city": schema},
        "required": ["city"],
        "$defs": definitions,
    }
    with pytest.raises(InvalidRequest, match=reason) as raised:
        Function("Qwen3.5", parameters)
    assert raised.value.error_param == "tools[0].function.parameters"
