"""Requests for estimates, and a training file that the fake engine renders."""

from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.app.training_data.test_preview import chat, upload
from tests.live_server import FakeEngine


def estimate(http: httpx.Client, **body: Any) -> dict[str, Any]:
    response = http.post("/v1/fine_tuning/jobs/estimate", json={"model": "base", **body})
    assert response.status_code == 200, response.text
    estimated: dict[str, Any] = response.json()
    return estimated


def values_of(training: dict[str, Any]) -> dict[str, tuple[Any, str]]:
    return {each["name"]: (each["value"], each["source"]) for each in training["hyperparameters"]}


def supervised(**hyperparameters: Any) -> dict[str, Any]:
    return {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}


@pytest.fixture
def training_file(openai: OpenAI, engine: FakeEngine) -> str:
    """40 chats; the engine says that each has 7 tokens, of which 3 carry loss."""
    return upload(openai, [chat(str(number)) for number in range(40)])
