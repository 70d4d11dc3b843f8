"""Renders the messages and tools of a chat completion, by the code that renders training rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.errors import InvalidRequest
from app.formats.chat import to_messages
from app.wire.chat_messages import RequestMessage
from app.wire.engine import ChatCompletionRequest
from worker.inference.chat_truncation import render_truncated
from worker.inference.generation import context_length_error, max_prompt_tokens
from worker.inference.registry import ServedCausalModel
from worker.model.rendering import ChatPrompt, PromptTooLong, RenderingError

# Cost of rendering a message or a part of one, in characters.
COST_PER_MESSAGE = 256
NO_CALLS = "The calls of this model's chat template are in a form that this engine does not read."


async def render_prompt(
    request: ChatCompletionRequest, served: ServedCausalModel, project: str
) -> ChatPrompt:
    """Render and tokenize a prompt, in a thread. Raises InvalidRequest.

    With `tool_choice` "none" the tools are left out: of rows without tools, models learn answers
    without calls.
    """
    base = served.base
    tools = request.tool_definitions if request.choice.mode != "none" else []

    async def render(messages: Sequence[RequestMessage]) -> ChatPrompt:
        def run() -> ChatPrompt:
            renderer = base.renderer.with_options(served.rendering_options)
            return renderer.render_chat(_to_training_messages(messages), tools, request.switches)

        return await base.rendering.run(project, _rendering_cost(messages, tools), run)

    try:
        if request.truncation == "auto":
            prompt = await render_truncated(
                render, request.messages, max_prompt_tokens(request, base)
            )
        else:
            prompt = await render(request.messages)
    except PromptTooLong as error:
        raise context_length_error(base, f"at least {error.min_tokens}") from error
    except RenderingError as error:
        raise InvalidRequest(str(error), param="messages") from error
    if tools and prompt.answer_format.calls is None:
        raise InvalidRequest(NO_CALLS, param="tools", code="unsupported_value")
    return prompt


def _to_training_messages(messages: Sequence[RequestMessage]) -> list[dict[str, Any]]:
    """Convert messages as those of a training file are."""
    fields = [message.model_dump(exclude_none=True) for message in messages]
    return [message.to_wire() for message in to_messages(fields)]


def _rendering_cost(messages: Sequence[RequestMessage], tools: Sequence[Mapping[str, Any]]) -> int:
    """Cost of rendering in characters; a message costs some even if it is empty."""
    parts = [part for message in messages for part in message.content or ()]
    characters = sum(len(part.text or part.refusal or "") for part in parts)
    for message in messages:
        characters += len(message.reasoning_content or "")
        characters += len(str(message.tool_calls or "")) + len(str(message.function_call or ""))
    characters += sum(len(str(tool)) for tool in tools)
    return characters + COST_PER_MESSAGE * (len(messages) + len(parts) + len(tools))
