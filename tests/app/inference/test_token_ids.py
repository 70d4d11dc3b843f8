"""Token ids under an alias: they are those of another model's tokenizer."""

from typing import Any

import httpx
import pytest

from tests.live_server import FakeEngine

ROUTES = [("/v1/embeddings", "input"), ("/v1/completions", "prompt")]


@pytest.mark.parametrize(("path", "param"), ROUTES)
@pytest.mark.parametrize("ids", [[1, 2], [[1, 2], [3]]])
def test_ids_under_an_alias_are_refused(
    http: httpx.Client, engine: FakeEngine, path: str, param: str, ids: Any
) -> None:
    response = http.post(path, json={"model": "gpt-4o-mini", param: ids})
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == param
    assert "check_embedding_ctx_length=False" in error["message"]
    assert "`base`" in error["message"]
    assert engine.bodies == []


@pytest.mark.parametrize(("path", "param"), ROUTES)
@pytest.mark.parametrize(("model", "texts"), [("base", [1, 2]), ("gpt-4o-mini", ["text"])])
def test_ids_of_the_model_and_texts_are_forwarded(
    http: httpx.Client, engine: FakeEngine, path: str, param: str, model: str, texts: Any
) -> None:
    assert http.post(path, json={"model": model, param: texts}).status_code == 200
    assert engine.bodies[0]["model"] == "base"
