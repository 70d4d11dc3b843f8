"""The grammar of a request's `response_format`, compiled in turn with other projects' work."""

from functools import partial

from app.errors import InvalidRequest
from app.wire.engine import ChatCompletionRequest
from app.wire.response_format import ResponseFormat
from worker.inference.grammar.compiler import COST_PER_CHARACTER, GrammarCompiler, InvalidGrammar
from worker.inference.grammar.grammar import Grammar
from worker.inference.grammar.json_schema import ANY_OBJECT, json_grammar
from worker.inference.grammar.schema_rules import InvalidSchema
from worker.inference.loaded_model import LoadedModel
from worker.model.rendering import ChatPrompt


async def compile_response_format(
    response_format: ResponseFormat | None, base: LoadedModel, project: str
) -> Grammar | None:
    """Compile the grammar that an answer must follow, if any. Raises InvalidRequest."""
    if response_format is None or response_format.type == "text":
        return None
    cost = COST_PER_CHARACTER * len(str(response_format.json_schema or ""))
    compile_ = partial(_compile, response_format, base.grammars)
    return await base.rendering.run(project, cost, compile_)


def _compile(response_format: ResponseFormat, grammars: GrammarCompiler) -> Grammar:
    wanted = response_format.json_schema
    try:
        if wanted is None:
            return grammars.compile(json_grammar(ANY_OBJECT))
        return grammars.compile(json_grammar(wanted.json_schema, strict=bool(wanted.strict)))
    except (InvalidSchema, InvalidGrammar) as error:
        name = "json_object" if wanted is None else wanted.name
        message = f"Invalid schema for response_format '{name}': {error}"
        raise InvalidRequest(message, param="response_format") from error


def check_combination(request: ChatCompletionRequest, prompt: ChatPrompt) -> None:
    """Raise InvalidRequest if the answer may have other parts than JSON, which no grammar has yet.

    JSON alone would be an answer without calls, or inside of the reasoning.
    """
    if request.response_format is None or request.response_format.type == "text":
        return
    reason = None
    if request.callable_functions:
        reason = "this engine answers with JSON or with calls: leave out 'tools', or send "
        reason += "'tool_choice' \"none\""
    elif prompt.begins_reasoning:
        reason = "this model begins with reasoning: if its chat template knows it, send "
        reason += "'chat_template_kwargs' {\"enable_thinking\": false}"
    if reason is not None:
        message = f"Invalid 'response_format': {reason}."
        raise InvalidRequest(message, param="response_format", code="unsupported_value")


def refuse_for_classifier(request: ChatCompletionRequest) -> None:
    """Raise InvalidRequest if a model that answers with a label is to write JSON."""
    if request.response_format is not None and request.response_format.type != "text":
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
