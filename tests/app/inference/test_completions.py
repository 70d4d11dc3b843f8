"""/v1/completions: what reaches the engine of what a client may leave out or set to nothing."""

from typing import Any

import httpx
import pytest

from tests.app.http.test_admission import expect_error
from tests.live_server import FakeEngine


def ask(http: httpx.Client, **body: Any) -> httpx.Response:
    return http.post("/v1/completions", json={"model": "base"} | body)


@pytest.mark.parametrize("asked", [{}, {"prompt": None}, {"prompt": ""}])
def test_no_prompt_is_one_empty_text(
    http: httpx.Client, engine: FakeEngine, asked: dict[str, Any]
) -> None:
    assert ask(http, **asked).status_code == 200
    assert engine.bodies == [{"model": "base", "prompt": [""]}]


@pytest.mark.parametrize("prompt", [[], 5, [None], [["a"]], [[1.5]], {"a": 1}, True])
def test_what_is_no_prompt(http: httpx.Client, prompt: object) -> None:
    assert expect_error(ask(http, prompt=prompt), 400)["param"] == "prompt"


@pytest.mark.parametrize("asked", [{}, {"n": 2}, {"stream": True}])
def test_the_best_of_none_asks_for_nothing(
    http: httpx.Client, engine: FakeEngine, asked: dict[str, Any]
) -> None:
    assert ask(http, prompt="a", best_of=0, **asked).status_code == 200
    assert engine.bodies[0]["best_of"] is None


@pytest.mark.parametrize("asked", [{"best_of": -1}, {"best_of": 21}, {"best_of": 1, "n": 2}])
def test_a_best_that_cannot_be(http: httpx.Client, asked: dict[str, Any]) -> None:
    assert expect_error(ask(http, prompt="a", **asked), 400)["param"] == "best_of"
