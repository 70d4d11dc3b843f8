"""The grammar of a chat's answer: calls that are required, JSON that is asked for, or either."""

from functools import partial
from typing import Any

from llguidance import LLMatcher

from app.errors import InvalidRequest
from app.wire.engine import ChatCompletionRequest
from worker.inference.grammar.answer_rules import AnswerRules
from worker.inference.grammar.call_rules import CallRules
from worker.inference.grammar.compiler import COST_PER_CHARACTER, GrammarCompiler, InvalidGrammar
from worker.inference.grammar.grammar import Grammar
from worker.inference.grammar.json_schema import json_grammar
from worker.inference.grammar.lark import Literals
from worker.inference.grammar.schema_rules import COMBINATIONS, InvalidSchema, read_schema
from worker.inference.loaded_model import LoadedModel
from worker.inference.response_format import (
    compile_json,
    compile_response_format,
    read_response_schema,
    wants_json,
)
from worker.model.rendering import ChatPrompt
from worker.model.rendering.call_format import NamedCalls, ObjectCalls

NOT_JSON = (
    "A call cannot be forced on this model: its chat template writes arguments in a form that is "
    "no JSON. Use the 'tool_choice' 'auto'."
)
NO_CALLS_OR_JSON = (
    "JSON and calls cannot be asked for together of this model: its chat template writes arguments "
    "in a form that is no JSON. Leave out 'response_format' or 'tools', or use the 'tool_choice' "
    "'none'."
)
NO_PARAMETERS = {"type": "object", "properties": {}, "additionalProperties": False}


async def compile_chat_grammar(
    request: ChatCompletionRequest, prompt: ChatPrompt, base: LoadedModel, project: str
) -> Grammar | None:
    """Compile the grammar that an answer must follow, if any. Raises InvalidRequest."""
    is_text = prompt.answer_format.is_plain and not request.callable_functions
    if is_text or not (wants_json(request.response_format) or _must_call(request)):
        return await compile_response_format(request.response_format, base, project)
    size = len(str(request.function_definitions)) + len(str(request.response_format))
    return await base.rendering.run(
        project, COST_PER_CHARACTER * size, partial(_compile, request, prompt, base.grammars)
    )


def _must_call(request: ChatCompletionRequest) -> bool:
    return request.choice.mode == "required"


def _compile(
    request: ChatCompletionRequest, prompt: ChatPrompt, grammars: GrammarCompiler
) -> Grammar:
    source = write_grammar(request, prompt)
    if request.response_format is not None and not _must_call(request):
        # Alone first: an error of both grammars in one does not tell whose it is.
        compile_json(request.response_format, grammars)
    try:
        return grammars.compile(LLMatcher.grammar_from_lark(source))
    except InvalidGrammar as error:
        raise _find_cause(request, grammars) from error


def _find_cause(request: ChatCompletionRequest, grammars: GrammarCompiler) -> InvalidRequest:
    """Compile each function's schema alone: the error of all in one quotes the whole grammar."""
    for name in request.callable_functions:
        try:
            grammars.compile(json_grammar(_read_parameters(request, name)))
        except InvalidGrammar as error:
            message = f"Invalid schema for function '{name}': {error}"
            return InvalidRequest(message, param=_find_param(request, name))
    field = "functions" if request.functions else "tools"
    message = f"The schemas of '{field}' are too complex together. Offer fewer functions at a time."
    return InvalidRequest(message, param=field)


def write_grammar(request: ChatCompletionRequest, prompt: ChatPrompt) -> str:
    """Write the grammar of an answer in Lark's notation. Raises InvalidRequest.

    An answer that must call a function has no other text.
    """
    literals = Literals(prompt.answer_format.special)
    rules = AnswerRules(prompt.answer_format, literals, begins_reasoning=prompt.begins_reasoning)
    calls = _make_call_rules(request, prompt, literals) if request.callable_functions else None
    schema = None if _must_call(request) else read_response_schema(request.response_format)
    return rules.write(calls, schema)


def _make_call_rules(
    request: ChatCompletionRequest, prompt: ChatPrompt, literals: Literals
) -> CallRules:
    calls = prompt.answer_format.calls
    if not isinstance(calls, ObjectCalls | NamedCalls):
        message, param = (
            (NOT_JSON, "tool_choice")
            if _must_call(request)
            else (NO_CALLS_OR_JSON, "response_format")
        )
        raise InvalidRequest(message, param=param, code="unsupported_value")
    functions = {name: _read_parameters(request, name) for name in request.callable_functions}
    return CallRules(calls, functions, literals, max_calls=request.max_calls)


def _read_parameters(request: ChatCompletionRequest, name: str) -> dict[str, Any]:
    """Return the schema of a function's arguments. Raises InvalidRequest."""
    function = next(each for each in request.function_definitions if each["name"] == name)
    try:
        schema = read_schema(
            function.get("parameters") or NO_PARAMETERS, strict=bool(function.get("strict"))
        )
    except InvalidSchema as error:
        message = f"Invalid schema for function '{name}': {error}"
        raise InvalidRequest(message, param=_find_param(request, name)) from error
    return _close(schema)


def _find_param(request: ChatCompletionRequest, name: str) -> str:
    """The place of a function's parameters in the request."""
    index = [function["name"] for function in request.function_definitions].index(name)
    field = f"functions[{index}]" if request.functions else f"tools[{index}].function"
    return f"{field}.parameters"


def _close(parameters: dict[str, Any]) -> dict[str, Any]:
    """Narrow the values of a schema to arguments that a function takes."""
    # Without a type, a schema allows any value; arguments are an object.
    closed = parameters if "$ref" in parameters else {"type": "object", **parameters}
    others = COMBINATIONS | {"patternProperties"}
    if "properties" in parameters and not others & parameters.keys():
        # Names that a schema does not have are no parameters of the function, unless it says so.
        closed.setdefault("additionalProperties", False)
    return closed
