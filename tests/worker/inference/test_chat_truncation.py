"""Truncation of chats: which turns are dropped, and that an engine does it."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
from openai import BadRequestError

from app.wire.chat_messages import RequestMessage
from tests.worker.inference.running_engine import SHORT_CONTEXT
from worker.inference.chat_truncation import render_truncated
from worker.model.rendering import ChatPrompt, PromptTooLong, RenderingError

CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "3"}


class FakeRenderer:
    """Renders a message as one token, and refuses chats as a template would."""

    def __init__(self, *, alternates: bool = False, context_length: int = 10_000) -> None:
        self.rendered: list[list[str]] = []
        self._alternates = alternates
        self._context_length = context_length

    async def __call__(self, messages: Sequence[RequestMessage]) -> ChatPrompt:
        texts = [message.content[0].text or "" if message.content else "" for message in messages]
        self.rendered.append(texts)
        if len(texts) > self._context_length:
            raise PromptTooLong(len(texts))
        said = [message.role for message in messages if message.role != "system"]
        if self._alternates and said[0] != "user":
            raise RenderingError("roles must alternate")
        return ChatPrompt([ord(text[0]) if text else 0 for text in texts], False, None)  # type: ignore[arg-type]


def truncate(messages: list[dict[str, Any]], max_tokens: int, **options: Any) -> list[str]:
    """The texts of the messages that are left."""
    renderer = FakeRenderer(**options)
    parsed = [RequestMessage.model_validate(message) for message in messages]
    prompt = asyncio.run(render_truncated(renderer, parsed, max_tokens))
    texts: dict[tuple[int, ...], list[str]] = {
        tuple(ord(text[0]) if text else 0 for text in rendered): rendered
        for rendered in renderer.rendered
    }
    assert len(renderer.rendered) <= 3 + len(messages).bit_length() * 2
    return texts[tuple(prompt.ids)]


def alternate(number: int) -> list[dict[str, Any]]:
    """A chat of this many turns, whose texts are the letters from A on."""
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": chr(ord("A") + i)} for i in range(number)]


@pytest.mark.parametrize("max_tokens", range(1, 8))
def test_as_many_turns_stay_as_there_is_room_for(max_tokens: int) -> None:
    assert truncate(alternate(7), max_tokens) == list("ABCDEFG")[-max_tokens:]


def test_a_chat_that_is_short_enough_is_rendered_once() -> None:
    renderer = FakeRenderer()
    messages = [RequestMessage.model_validate(message) for message in alternate(3)]
    asyncio.run(render_truncated(renderer, messages, 3))
    assert renderer.rendered == [["A", "B", "C"]]


def test_instructions_stay() -> None:
    chat = alternate(5)
    chat.insert(0, {"role": "system", "content": "s"})
    chat.insert(3, {"role": "developer", "content": "d"})
    assert truncate(chat, 4) == ["s", "d", "D", "E"]


def test_results_go_with_their_calls() -> None:
    calls = {"role": "assistant", "content": "c", "tool_calls": [CALL]}
    chat = [*alternate(1), calls, RESULT, {"role": "assistant", "content": "d"}]
    assert truncate(chat, 3) == ["c", "3", "d"]
    assert truncate(chat, 2) == ["d"]


def test_the_last_turn_stays_however_long_it_is() -> None:
    calls = {"role": "assistant", "content": "c", "tool_calls": [CALL]}
    assert truncate([*alternate(3), calls, RESULT], 1) == ["c", "3"]
    assert truncate(alternate(1), 0) == ["A"]


def test_a_last_turn_that_is_longer_than_the_context_is_an_error() -> None:
    calls = {"role": "assistant", "content": "c", "tool_calls": [CALL]}
    with pytest.raises(PromptTooLong):
        truncate([*alternate(3), calls, RESULT], 1, context_length=1)


@pytest.mark.parametrize("number", [3, 5, 7, 9, 21])
def test_a_template_that_refuses_to_begin_with_an_answer(number: int) -> None:
    chat = alternate(number)
    everything = [message["content"] for message in chat]
    # There would be room for one more.
    assert truncate(chat, number - 1, alternates=True) == everything[2:]
    assert truncate(chat, 2, alternates=True) == everything[-1:]


def test_what_the_template_refuses_anyway_is_an_error() -> None:
    chat = [{"role": "assistant", "content": each} for each in "abc"]
    with pytest.raises(RenderingError, match="must alternate"):
        truncate(chat, 1, alternates=True)


@pytest.fixture
def ask(greedy: Callable[..., Any]) -> Callable[..., Any]:
    return partial(greedy, model="short", max_tokens=8)


def test_an_engine_drops_what_has_no_room(ask: Callable[..., Any]) -> None:
    auto = {"truncation": "auto"}
    turns = [
        {"role": role, "content": f"{number}{role}"}
        for number in range(4)
        for role in ("user", "assistant")
    ]
    chat = [*turns, {"role": "user", "content": "and?"}]
    with pytest.raises(BadRequestError, match="maximum context length"):
        ask(messages=chat)
    answer = ask(messages=chat, extra_body=auto)
    # The room for the answer was kept.
    assert answer.usage.completion_tokens == 8
    shorter = [
        ask(messages=chat[start:])
        for start in range(len(chat) - 1, 0, -1)
        if _fits(ask, chat[start:])
    ]
    longest = shorter[-1]
    assert answer.usage.prompt_tokens == longest.usage.prompt_tokens
    assert answer.choices[0].message.content == longest.choices[0].message.content


def _fits(ask: Callable[..., Any], messages: list[dict[str, Any]]) -> bool:
    try:
        return bool(ask(messages=messages).usage.prompt_tokens + 8 <= SHORT_CONTEXT)
    except BadRequestError:
        return False


def test_an_engine_refuses_a_last_turn_without_room(ask: Callable[..., Any]) -> None:
    long = [{"role": "user", "content": "hello"}, {"role": "user", "content": "x" * 100}]
    with pytest.raises(BadRequestError, match="maximum context length"):
        ask(messages=long, extra_body={"truncation": "auto"})
