"""Chats that every family is asked to render."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Chat:
    messages: Sequence[Message]
    tools: Sequence[Mapping[str, Any]] = field(default=())


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def answer(text: str | None, **more: Any) -> Message:
    return {"role": "assistant", "content": text, **more}


def call(*cities: str) -> Message:
    calls = [
        {
            "id": f"call_{city}",
            "type": "function",
            "function": {"name": "weather", "arguments": f'{{"city": "{city}"}}'},
        }
        for city in cities
    ]
    return answer(None, tool_calls=calls)


def result(city: str, text: str) -> Message:
    return {"role": "tool", "content": text, "tool_call_id": f"call_{city}"}


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Its name."}},
            "required": ["city"],
        },
    },
}
THOUGHTS = ("Two and two.", "Three and three.")
CHATS: Mapping[str, Chat] = {
    "one turn": Chat([user("Hello?"), answer("Hi.")]),
    "three turns": Chat(
        [user("a"), answer("One."), user("b"), answer("Two."), user("c"), answer("Three.")]
    ),
    "system": Chat([{"role": "system", "content": "Be brief."}, user("Hello?"), answer("Hi.")]),
    "tool call": Chat(
        [user("Weather?"), call("Zürich"), result("Zürich", "rain"), answer("It rains.")],
        [WEATHER],
    ),
    "parallel calls": Chat(
        [
            user("Weather?"),
            call("Zürich", "Bern"),
            result("Zürich", "rain"),
            result("Bern", "sun"),
            answer("Both."),
        ],
        [WEATHER],
    ),
    "reasoning": Chat(
        [
            user("2+2?"),
            answer("4.", reasoning_content=THOUGHTS[0]),
            user("3+3?"),
            answer("6.", reasoning_content=THOUGHTS[1]),
        ]
    ),
}
