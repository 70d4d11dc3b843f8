"""The grammar of a request's `response_format`, compiled in turn with other projects' work."""

from functools import partial

from app.errors import InvalidRequest
from app.wire.engine import ChatCompletionRequest
from app.wire.response_format import ResponseFormat
from worker.inference.grammar.compiler import COST_PER_CHARACTER, GrammarCompiler, InvalidGrammar
from worker.inference.grammar.grammar import Grammar
from worker.inference.grammar.json_schema import ANY_OBJECT, json_grammar
from worker.inference.grammar.schema_rules import InvalidSchema, Schema, read_schema
from worker.inference.loaded_model import LoadedModel


async def compile_response_format(
    response_format: ResponseFormat | None, base: LoadedModel, project: str
) -> Grammar | None:
    """Compile the grammar that an answer must follow, if any. Raises InvalidRequest."""
    if response_format is None or response_format.type == "text":
        return None
    cost = COST_PER_CHARACTER * len(str(response_format.json_schema or ""))
    compile_ = partial(compile_json, response_format, base.grammars)
    return await base.rendering.run(project, cost, compile_)


def compile_json(response_format: ResponseFormat, grammars: GrammarCompiler) -> Grammar:
    """Compile the grammar of JSON and nothing else. Raises InvalidRequest."""
    wanted = response_format.json_schema
    try:
        if wanted is None:
            return grammars.compile(json_grammar(ANY_OBJECT))
        return grammars.compile(json_grammar(wanted.json_schema, strict=bool(wanted.strict)))
    except (InvalidSchema, InvalidGrammar) as error:
        raise invalid_format(response_format, error) from error


def wants_json(response_format: ResponseFormat | None) -> bool:
    return response_format is not None and response_format.type != "text"


def read_response_schema(response_format: ResponseFormat | None) -> Schema | None:
    """Return the schema of JSON that is asked for, without annotations. Raises InvalidRequest."""
    if response_format is None or response_format.type == "text":
        return None
    wanted = response_format.json_schema
    if wanted is None:
        return ANY_OBJECT
    try:
        return read_schema(wanted.json_schema, strict=bool(wanted.strict))
    except InvalidSchema as error:
        raise invalid_format(response_format, error) from error


def invalid_format(response_format: ResponseFormat, error: ValueError) -> InvalidRequest:
    wanted = response_format.json_schema
    name = "json_object" if wanted is None else wanted.name
    message = f"Invalid schema for response_format '{name}': {error}"
    return InvalidRequest(message, param="response_format")


def refuse_for_classifier(request: ChatCompletionRequest) -> None:
    """Raise InvalidRequest if a model that answers with a label is to write JSON or a call."""
    if request.choice.mode == "required":
        field = "function_call" if request.functions else "tool_choice"
        raise InvalidRequest(
            f"Invalid '{field}': the model `{request.model}` classifies; it cannot call tools.",
            param=field,
            code="unsupported_value",
        )
    if wants_json(request.response_format):
        raise InvalidRequest(
            f"Invalid 'response_format': the model `{request.model}` answers with a label.",
            param="response_format",
            code="invalid_value",
        )


def check_mentions_json(request: ChatCompletionRequest) -> None:
    """Raise InvalidRequest if any JSON is wanted, and no message says so, as OpenAI does.

    A model that was not told may write spaces or an endless string.
    """
    if request.response_format is None or request.response_format.type != "json_object":
        return
    parts = [part for message in request.messages for part in message.content or ()]
    if not any("json" in (part.text or "").lower() for part in parts):
        raise InvalidRequest(
            "'messages' must contain the word 'json' in some form, to use 'response_format' of "
            "type 'json_object'.",
            param="messages",
        )
