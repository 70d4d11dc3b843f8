"""What the tests of each client ask: a model of data, a tool, and a question."""

import os
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MODEL = os.environ["CLIENTS_MODEL"]
QUESTION = "Anna is 30 years old and lives in Bern. Answer in JSON."


class Address(BaseModel):
    model_config = ConfigDict(extra="forbid")

    city: Literal["Bern", "Chur"]


class Customer(BaseModel):
    """A customer."""

    # So that the whole answer of an untuned model is one of few.
    name: Literal["Anna", "Bela"]
    age: int = Field(ge=0, le=99)
    address: Address


def look_up_weather(city: Literal["Bern", "Chur"]) -> str:
    """Look up the weather of a city."""
    return f"sunny in {city}"
