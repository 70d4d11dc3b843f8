"""The grammar of an answer that must call a function, in the form of its model's calls."""

import json
from functools import partial
from typing import Any

from llguidance import LLMatcher

from app.errors import InvalidRequest
from app.wire.engine import ChatCompletionRequest
from worker.inference.grammar.compiler import COST_PER_CHARACTER, GrammarCompiler, InvalidGrammar
from worker.inference.grammar.grammar import Grammar
from worker.inference.grammar.json_schema import WHITESPACE
from worker.inference.grammar.schema_rules import InvalidSchema, read_schema
from worker.inference.loaded_model import LoadedModel
from worker.model.rendering import ChatPrompt
from worker.model.rendering.call_format import Delimiters, NamedCalls, ObjectCalls

NOT_JSON = (
    "A call cannot be forced on this model: its chat template writes arguments in a form that is "
    "no JSON. Use the 'tool_choice' 'auto'."
)
# Of a key that has neither the name nor the arguments, such as an id.
OTHER_VALUE = {"type": "string", "maxLength": 32}
NO_PARAMETERS = {"type": "object", "properties": {}, "additionalProperties": False}


async def compile_forced_calls(
    request: ChatCompletionRequest, prompt: ChatPrompt, base: LoadedModel, project: str
) -> Grammar | None:
    """Compile the grammar of an answer with calls, if one is required. Raises InvalidRequest."""
    if request.choice.mode != "required":
        return None
    cost = COST_PER_CHARACTER * len(str(request.function_definitions))
    return await base.rendering.run(
        project, cost, partial(_compile, request, prompt, base.grammars)
    )


def _compile(
    request: ChatCompletionRequest, prompt: ChatPrompt, grammars: GrammarCompiler
) -> Grammar:
    source = write_grammar(request, prompt)
    try:
        return grammars.compile(LLMatcher.grammar_from_lark(source))
    except InvalidGrammar as error:
        raise InvalidRequest(f"Invalid schema in 'tools': {error}", param="tools") from error


def write_grammar(request: ChatCompletionRequest, prompt: ChatPrompt) -> str:
    """Write the grammar of an answer with calls in Lark's notation. Raises InvalidRequest."""
    return _CallGrammar(request, prompt).to_lark()


class _CallGrammar:
    """Writes the grammar in Lark's notation."""

    def __init__(self, request: ChatCompletionRequest, prompt: ChatPrompt) -> None:
        self._request = request
        self._format = prompt.answer_format
        self._begins_reasoning = prompt.begins_reasoning
        self._ids = {char: id for id, char in self._format.special.items()}

    def to_lark(self) -> str:
        calls = self._format.calls
        if not isinstance(calls, ObjectCalls | NamedCalls):
            raise InvalidRequest(NOT_JSON, param="tool_choice", code="unsupported_value")
        # What the prompt has begun must end before a call.
        lead = self._format.no_reasoning if self._begins_reasoning else ""
        rules = [f"start: {self._literal(lead)} {self._sequence(calls.delimiters)}"]
        if isinstance(calls, ObjectCalls):
            schemas = [self._object_schema(calls, name) for name in self._names]
            rules.append(f"call: {_json({'anyOf': schemas})}")
        else:
            middle = self._literal(calls.middles[0])
            options = [
                f"{self._literal(name)} {middle} arguments{index}"
                for index, name in enumerate(self._names)
            ]
            rules.append(f"call: {' | '.join(options)}")
            rules += [
                f"arguments{index}: {_json(self._parameters(name))}"
                for index, name in enumerate(self._names)
            ]
        return "\n".join(rules)

    @property
    def _names(self) -> list[str]:
        return sorted(self._request.callable_functions)

    def _sequence(self, delimiters: Delimiters) -> str:
        """One call, or as many as the request and the form allow."""
        opening, closing = self._literal(delimiters.opening), self._literal(delimiters.closing)
        more = self._request.max_calls - 1
        if not more or not delimiters.opening.strip():
            return f"{opening} call {closing}"
        if delimiters.between is None:
            return f'{opening} call {closing} ("\\n" {opening} call {closing}){{0,{more}}}'
        between = self._literal(delimiters.between)
        return f"{opening} call ({between} call){{0,{more}}} {closing}"

    def _object_schema(self, calls: ObjectCalls, name: str) -> dict[str, Any]:
        known: dict[str, Any] = {
            calls.name_key: {"const": name},
            calls.arguments_key: self._parameters(name),
        }
        return {
            "type": "object",
            "properties": {key: known.get(key, OTHER_VALUE) for key in calls.keys},
            "required": list(calls.keys),
            "additionalProperties": False,
        }

    def _parameters(self, name: str) -> dict[str, Any]:
        """Return the schema of a function's arguments. Raises InvalidRequest."""
        definitions = enumerate(self._request.function_definitions)
        index, function = next(item for item in definitions if item[1]["name"] == name)
        field = "functions" if self._request.functions else "tools"
        param = f"{field}[{index}].{'' if self._request.functions else 'function.'}parameters"
        try:
            schema = read_schema(
                function.get("parameters") or NO_PARAMETERS, strict=bool(function.get("strict"))
            )
        except InvalidSchema as error:
            message = f"Invalid schema for function '{name}': {error}"
            raise InvalidRequest(message, param=param) from error
        # Without a type, a schema allows any value; arguments are an object.
        return schema if "type" in schema or "$ref" in schema else {**schema, "type": "object"}

    def _literal(self, text: str) -> str:
        """Write a text; special tokens, noncharacters in it, by their ids."""
        parts: list[str] = []
        run = ""
        for char in text:
            if char not in self._ids:
                run += char
                continue
            parts += [_quote(run), f"<[{self._ids[char]}]>"]
            run = ""
        return " ".join(filter(None, [*parts, _quote(run)])) or '""'


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if text else ""


def _json(schema: dict[str, Any]) -> str:
    options = {"whitespace_pattern": WHITESPACE, "lenient": True}
    return f"%json {json.dumps({**schema, 'x-guidance': options})}"
