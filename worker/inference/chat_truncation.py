"""Truncation of chats that are longer than a model's context: their oldest turns are dropped."""

from collections.abc import Awaitable, Callable, Sequence

from app.wire.chat_messages import RequestMessage
from worker.model.rendering import ChatPrompt, PromptTooLong, RenderingError

# Kept, wherever they stand in a chat.
INSTRUCTION_ROLES = ("system", "developer")
# Results of calls go with the turn that has the calls.
ROLES_WITHIN_TURNS = (*INSTRUCTION_ROLES, "tool", "function")

Render = Callable[[Sequence[RequestMessage]], Awaitable[ChatPrompt]]


async def render_truncated(
    render: Render, messages: Sequence[RequestMessage], max_tokens: int
) -> ChatPrompt:
    """Render a chat without the fewest of its oldest turns that leave at most `max_tokens` tokens.

    The last turn is always kept, so the prompt may have more tokens. If the template refuses chats
    that begin with an answer, an answer is dropped with the turn before it. The calls of `render`
    grow with the logarithm of the number of turns. Raises RenderingError, and PromptTooLong if the
    last turn is too long by itself.
    """
    whole = await _render_if_short(render, messages, max_tokens)
    if whole is not None:
        return whole
    turns = [i for i, each in enumerate(messages) if each.role not in ROLES_WITHIN_TURNS]
    starts = turns[1:]
    questions = [start for start in starts if messages[start].role != "assistant"]
    try:
        return await _render_longest(render, messages, starts, max_tokens)
    except PromptTooLong:
        raise
    except RenderingError:
        if questions in ([], starts):
            raise
    return await _render_longest(render, messages, questions, max_tokens)


async def _render_longest(
    render: Render, messages: Sequence[RequestMessage], starts: Sequence[int], max_tokens: int
) -> ChatPrompt:
    """Render the chat from the first of these indexes on from which it is short enough."""
    last = list(messages) if not starts else _begin_at(messages, starts[-1])
    found: ChatPrompt | None = None
    low, high = 0, len(starts) - 1
    while low < high:
        middle = (low + high) // 2
        prompt = await _render_if_short(render, _begin_at(messages, starts[middle]), max_tokens)
        if prompt is None:
            low = middle + 1
        else:
            found, high = prompt, middle
    return await render(last) if found is None else found


def _begin_at(messages: Sequence[RequestMessage], start: int) -> list[RequestMessage]:
    """The messages from an index on, and the instructions before it."""
    instructions = [each for each in messages[:start] if each.role in INSTRUCTION_ROLES]
    return [*instructions, *messages[start:]]


async def _render_if_short(
    render: Render, messages: Sequence[RequestMessage], max_tokens: int
) -> ChatPrompt | None:
    try:
        prompt = await render(messages)
    except PromptTooLong:
        return None
    return prompt if len(prompt.ids) <= max_tokens else None
