"""Questions that a small model learns to answer with calls of three functions."""

import json
import random
from collections.abc import Iterator
from typing import Any, Literal

from openai import pydantic_function_tool
from pydantic import BaseModel

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
NAMES = ("Anna", "Bela", "Carlo", "Dana", "Emil", "Fiona", "Goran", "Hanna", "Ivo", "Jana")


class TrackParcel(BaseModel):
    """Find a parcel."""

    number: int


class OpeningHours(BaseModel):
    """Look up the opening hours."""

    day: Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


class BookTable(BaseModel):
    """Book a table."""

    name: str
    guests: int


KINDS: dict[str, type[BaseModel]] = {
    "track_parcel": TrackParcel,
    "opening_hours": OpeningHours,
    "book_table": BookTable,
}
TOOLS: Any = [pydantic_function_tool(model, name=name) for name, model in KINDS.items()]


def make_questions() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield questions, each with the function and the arguments that answer it; none twice."""
    chance = random.Random(5)
    asked: set[str] = set()
    while True:
        number, day = chance.randrange(1000, 9999), chance.choice(DAYS)
        name, guests = chance.choice(NAMES), chance.randrange(2, 9)
        options: list[tuple[str, str, dict[str, Any]]] = [
            (
                chance.choice(["Where is parcel {}?", "Has {} been sent?", "Find my parcel {}."]),
                "track_parcel",
                {"number": number},
            ),
            (
                chance.choice(["When do you open on {}?", "Hours on {}?", "Are you open on {}?"]),
                "opening_hours",
                {"day": day},
            ),
            (
                chance.choice(["A table for {1}, name {0}.", "Book for {0}, {1} people, please."]),
                "book_table",
                {"name": name, "guests": guests},
            ),
        ]
        question, function, arguments = chance.choice(options)
        text = question.format(*arguments.values())
        if text not in asked:
            asked.add(text)
            yield text, function, arguments


def make_row(question: str, function: str, arguments: dict[str, Any]) -> str:
    """Make a row of a training file."""
    call = {"name": function, "arguments": json.dumps(arguments)}
    messages = [
        {"role": "user", "content": question},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": call}],
        },
    ]
    return json.dumps({"messages": messages, "tools": TOOLS})
