"""Structured outputs of SmolLM2 as it is shipped, without any tuning, at temperature 1."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from openai import OpenAI
from pydantic import BaseModel, Field

from app.catalog import Catalog
from tests.conftest import ROOT
from tests.worker.inference.running_engine import running_engine
from worker.model_sources import materialize

pytestmark = [pytest.mark.golden, pytest.mark.timeout(1800)]

MODEL = "smollm2-135m-instruct"
NUM_ANSWERS = 200
CHOICES = 8
QUESTION: Any = [
    {"role": "user", "content": "Invent a customer with an address and two orders, as JSON."}
]


class Order(BaseModel):
    item: str = Field(max_length=40)
    quantity: int = Field(ge=1, le=99)
    state: Literal["open", "sent", "returned"]


class Customer(BaseModel):
    name: str = Field(max_length=60)
    email: str | None = Field(pattern=r"^[a-z]{2,12}@[a-z]{2,12}\.(com|org)$")
    birthday: str = Field(json_schema_extra={"format": "date"})
    orders: list[Order] = Field(max_length=3)
    is_active: bool


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    home: Path = tmp_path_factory.mktemp("engine")
    # Converting the model takes longer than an engine may take to start.
    model = Catalog.load(ROOT / "models.toml").get(MODEL)
    assert model is not None
    materialize(model, home / "cache/models")
    entry = (ROOT / "models.toml").read_text(encoding="utf-8").split("[[model]]")[1]
    with running_engine(home, f"[[model]]{entry}") as engine:
        yield engine.client.with_options(timeout=1200)


def test_each_answer_of_an_untuned_model_is_valid(client: OpenAI) -> None:
    parsed: list[Customer] = []
    for seed in range(NUM_ANSWERS // CHOICES):
        answer = client.chat.completions.parse(
            model=MODEL,
            messages=QUESTION,
            response_format=Customer,
            temperature=1,
            seed=seed,
            n=CHOICES,
        )
        assert {choice.finish_reason for choice in answer.choices} == {"stop"}
        parsed += [choice.message.parsed for choice in answer.choices if choice.message.parsed]
    assert len(parsed) == NUM_ANSWERS
    assert len({customer.name for customer in parsed}) > NUM_ANSWERS / 4
