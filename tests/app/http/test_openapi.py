"""The OpenAPI document: responses and parameters of every operation."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from app.main import create_app
from app.settings import Settings
from app.wire.base import MAX_METADATA_PAIRS
from tests.conftest import ROOT

ENVELOPE = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorEnvelope"}}}
# The body says which service is unavailable.
NO_ENVELOPE = {("/readyz", "503")}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    app = create_app(
        Settings(
            database_url="postgresql://nowhere/x",
            redis_url="redis://nowhere",
            models_file=ROOT / "tests/models.toml",
        )
    )
    assert app.openapi() == app.openapi(), "the document changes when it is read again"
    return app.openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def properties(document: dict[str, Any], name: str) -> dict[str, Any]:
    fields: dict[str, Any] = document["components"]["schemas"][name]["properties"]
    return fields


def test_every_success_has_a_schema(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        responses = operation["responses"]
        content = (responses.get("200") or responses["201"]).get("content", {})
        assert content, f"{method} {path} documents no success"
        for media_type, described in content.items():
            assert described.get("schema"), f"{method} {path}: {media_type} without a schema"


def test_every_error_is_documented_with_the_envelope(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        responses = operation["responses"]
        assert all(code.isdigit() for code in responses), f"{method} {path}: codes by pattern"
        assert "422" not in responses, f"{method} {path}: no route responds with it"
        for code, described in responses.items():
            if int(code) >= 400 and (path, code) not in NO_ENVELOPE:
                assert described["content"] == ENVELOPE, f"{method} {path}: {code}"
                assert described["description"], f"{method} {path}: {code} without a description"
    assert "HTTPValidationError" not in document["components"]["schemas"]


@pytest.mark.parametrize(
    ("method", "path", "codes"),
    [
        ("get", "/healthz", "200 400 431 500"),
        ("get", "/v1/models", "200 400 401 403 429 431 500 503"),
        ("get", "/v1/files/{file_id}/content", "200 400 401 403 404 429 431 500 503"),
        ("post", "/v1/uploads", "200 400 401 403 408 413 415 429 431 500 503 507"),
        ("post", "/v1/chat/completions", "200 400 401 403 404 408 413 415 429 431 500 503"),
    ],
)
def test_status_codes_of_a_route(
    document: dict[str, Any], method: str, path: str, codes: str
) -> None:
    assert sorted(document["paths"][path][method]["responses"]) == codes.split()


@pytest.mark.parametrize(
    ("path", "name"),
    [("/v1/chat/completions", "ChatCompletionResponse"), ("/v1/completions", "Completion")],
)
def test_generated_text_is_json_or_sse(document: dict[str, Any], path: str, name: str) -> None:
    content = document["paths"][path]["post"]["responses"]["200"]["content"]
    assert content["application/json"]["schema"]["$ref"].endswith(f"/{name}")
    assert content["text/event-stream"]["schema"]["required"] == ["data"]


def test_a_chat_request_is_typed(document: dict[str, Any]) -> None:
    """Generated clients have types for it, though the engine validates most of its fields."""
    chat = properties(document, "CreateChatCompletion")
    untyped = {
        name
        for name, field in chat.items()
        if not {"type", "anyOf", "$ref"} & field.keys()
        and "no effect" not in field.get("description", "")
    }
    assert untyped == set()
    roles = chat["messages"]["items"]["discriminator"]["mapping"]
    assert set(roles) == {"developer", "system", "user", "assistant", "tool", "function"}
    references = json.dumps([chat[name] for name in ("tools", "tool_choice", "response_format")])
    for name in ("Tool", "NamedToolChoice", "AllowedToolsChoice", "ResponseFormat"):
        assert f'schemas/{name}"' in references
    assert (
        document["components"]["schemas"]["CreateChatCompletion"]["additionalProperties"] is False
    )


def test_metadata_filter_of_jobs(document: dict[str, Any]) -> None:
    parameters = document["paths"]["/v1/fine_tuning/jobs"]["get"]["parameters"]
    (metadata,) = (each for each in parameters if each["name"] == "metadata")
    assert (metadata["in"], metadata["style"]) == ("query", "deepObject")
    assert metadata["schema"]["maxProperties"] == MAX_METADATA_PAIRS


def test_hyperparameters_have_their_bounds(document: dict[str, Any]) -> None:
    rate = properties(document, "Hyperparameters")["learning_rate_multiplier"]["anyOf"]
    assert {"type": "number", "exclusiveMinimum": 0, "maximum": 100} in rate
    batch = properties(document, "Hyperparameters")["batch_size"]["anyOf"]
    assert {"type": "integer", "minimum": 1, "maximum": 256} in batch
    assert {"type": "string", "const": "auto"} in batch


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("CompletionRequest", "prompt"),
        ("CompletionRequest", "stop"),
        ("EmbeddingsRequest", "input"),
        ("ClassifyRequest", "input"),
    ],
)
def test_plain_string_is_among_the_alternatives(
    document: dict[str, Any], name: str, field: str
) -> None:
    forms = [form["type"] for form in properties(document, name)[field]["anyOf"]]
    assert forms.count("string") == 1
    assert "array" in forms
