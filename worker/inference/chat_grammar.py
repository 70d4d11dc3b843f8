"""The grammar of a chat's answer: calls that are required, JSON that is asked for, or either."""

from collections.abc import Callable
from functools import partial
from typing import Any

from llguidance import LLMatcher

from app.errors import InvalidRequest
from app.wire.engine import ChatCompletionRequest
from worker.inference.chat_answer import make_parser
from worker.inference.grammar.answer_rules import GAP, AnswerRules
from worker.inference.grammar.call_rules import CallRules, Functions, UnwritableFunction
from worker.inference.grammar.compiler import COST_PER_CHARACTER, GrammarCompiler, InvalidGrammar
from worker.inference.grammar.grammar import Grammar, TextRules
from worker.inference.grammar.json_schema import ANY_OBJECT, json_grammar
from worker.inference.grammar.lark import Literals
from worker.inference.grammar.schema_rules import COMBINATIONS, InvalidSchema, read_schema
from worker.inference.grammar.strict_calls import StrictCalls
from worker.inference.loaded_model import LoadedModel
from worker.inference.response_format import (
    compile_json,
    compile_response_format,
    read_response_schema,
    wants_json,
)
from worker.model.rendering import ChatPrompt

UNWRITABLE = (
    "Invalid schema for function '{name}': a call with {reason} cannot be enforced on this model, "
    "whose chat template writes arguments in a form that is no JSON. Simplify the schema, or use "
    "the 'tool_choice' 'auto' without 'strict' and without 'response_format'."
)
NO_PARAMETERS = {"type": "object", "properties": {}, "additionalProperties": False}


async def compile_chat_grammar(
    request: ChatCompletionRequest, prompt: ChatPrompt, base: LoadedModel, project: str
) -> TextRules | None:
    """Compile the rules that an answer must follow, if any. Raises InvalidRequest."""
    if wants_json(request.response_format) or _must_call(request):
        is_text = prompt.answer_format.is_plain and not request.callable_functions
        if is_text:
            return await compile_response_format(request.response_format, base, project)
        compile_: Callable[[], TextRules] = partial(_compile, request, prompt, base.grammars)
    elif _list_strict(request):
        compile_ = partial(_compile_strict, request, prompt, base)
    else:
        return None
    size = len(str(request.function_definitions)) + len(str(request.response_format))
    return await base.rendering.run(project, COST_PER_CHARACTER * size, compile_)


def _must_call(request: ChatCompletionRequest) -> bool:
    return request.choice.mode == "required"


def _list_strict(request: ChatCompletionRequest) -> list[str]:
    """Names of the functions whose arguments must fulfil their schema in every call."""
    callable_ = request.callable_functions
    return [
        function["name"]
        for function in request.function_definitions
        if function.get("strict") and function["name"] in callable_
    ]


def _compile(
    request: ChatCompletionRequest, prompt: ChatPrompt, grammars: GrammarCompiler
) -> Grammar:
    source = write_grammar(request, prompt)
    if request.response_format is not None and not _must_call(request):
        # Alone first: an error of both grammars in one does not tell whose it is.
        compile_json(request.response_format, grammars)
    return _compile_source(source, request, grammars)


def _compile_strict(
    request: ChatCompletionRequest, prompt: ChatPrompt, base: LoadedModel
) -> StrictCalls:
    calls = _compile_source(write_strict_calls(request, prompt), request, base.grammars)
    special = prompt.answer_format.special
    return StrictCalls(
        calls,
        partial(make_parser, request, prompt),
        partial(base.vocabulary.new_detokenizer, special),
    )


def _compile_source(
    source: str, request: ChatCompletionRequest, grammars: GrammarCompiler
) -> Grammar:
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
    calls = None
    if request.callable_functions:
        functions = {name: _read_parameters(request, name) for name in request.callable_functions}
        calls = _make_call_rules(request, prompt, functions)
    schema = None if _must_call(request) else read_response_schema(request.response_format)
    return rules.write(calls, schema)


def write_strict_calls(request: ChatCompletionRequest, prompt: ChatPrompt) -> str:
    """Write the grammar of what follows the opening of a call in a free answer.

    Functions that are not strict may have any arguments. Raises InvalidRequest.
    """
    strict = _list_strict(request)
    functions = {
        name: _read_parameters(request, name) if name in strict else ANY_OBJECT
        for name in request.callable_functions
    }
    calls = _make_call_rules(request, prompt, functions)
    return "\n".join([f"start: {GAP}? {calls.write_opened()}", *calls.rules])


def _make_call_rules(
    request: ChatCompletionRequest, prompt: ChatPrompt, functions: Functions
) -> CallRules:
    format = prompt.answer_format.calls
    # A prompt for calls in a form that is not known was refused.
    assert format is not None
    literals = Literals(prompt.answer_format.special)
    try:
        return CallRules(format, functions, literals, max_calls=request.max_calls)
    except UnwritableFunction as error:
        raise InvalidRequest(
            UNWRITABLE.format(name=error.name, reason=error),
            param=_find_param(request, error.name),
            code="unsupported_value",
        ) from error


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
