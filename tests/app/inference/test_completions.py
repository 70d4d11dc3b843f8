"""/v1/completions: fields that a client may omit or set to null."""

import json
from typing import Any

import httpx
import pytest

from app.wire.completions import CompletionRequest
from tests.app.http.test_admission import expect_error
from tests.live_server import FakeEngine


def ask(http: httpx.Client, **body: Any) -> httpx.Response:
    return http.post("/v1/completions", json={"model": "base"} | body)


@pytest.mark.parametrize("fields", [{}, {"prompt": None}, {"prompt": ""}])
def test_a_missing_prompt_is_one_empty_text(
    http: httpx.Client, engine: FakeEngine, fields: dict[str, Any]
) -> None:
    assert ask(http, **fields).status_code == 200
    assert engine.bodies == [{"model": "base", "prompt": [""]}]


@pytest.mark.parametrize("prompt", [[], 5, [None], [["a"]], [[1.5]], {"a": 1}, True])
def test_invalid_prompts(http: httpx.Client, prompt: object) -> None:
    assert expect_error(ask(http, prompt=prompt), 400)["param"] == "prompt"


@pytest.mark.parametrize("fields", [{}, {"n": 2}, {"stream": True}])
def test_best_of_0_has_no_effect(
    http: httpx.Client, engine: FakeEngine, fields: dict[str, Any]
) -> None:
    assert ask(http, prompt="a", best_of=0, **fields).status_code == 200
    assert engine.bodies[0]["best_of"] is None


@pytest.mark.parametrize("fields", [{"best_of": -1}, {"best_of": 21}, {"best_of": 1, "n": 2}])
def test_invalid_best_of(http: httpx.Client, fields: dict[str, Any]) -> None:
    assert expect_error(ask(http, prompt="a", **fields), 400)["param"] == "best_of"


def test_a_schema_is_forwarded_as_it_was_sent(http: httpx.Client, engine: FakeEngine) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    assert ask(http, prompt="a", response_format=wanted).status_code == 200
    assert engine.bodies[0]["response_format"] == wanted
    # What the engine reads is what the API has written.
    CompletionRequest.model_validate_json(json.dumps(engine.bodies[0]))
