"""A17: limits of JSON bodies, with the default settings."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import orjson
import pytest
from fastapi.params import Form
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel, ValidationError

from app.http.strict_json import (
    MAX_NODES,
    MAX_OBJECT_MEMBERS,
    MAX_VALUES_WITH_TOKEN_IDS,
    StrictRoute,
    parse_json,
)
from app.main import create_app
from app.monitoring.schemas import FeedbackItem
from app.settings import Settings
from app.webhooks.schemas import CreateEndpoint
from app.wire.chat import CreateChatCompletion
from app.wire.encoders import InferenceParameters
from tests.app.http.test_admission import expect_error
from tests.conftest import ROOT
from tests.growth import assert_linear
from tests.live_api import Account, Api
from tests.live_server import FakeEngine, run_server

MEBIBYTE = 2**20
JSON = {"Content-Type": "application/json"}
TO_MODELS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/classify",
    "/models/base",
)
OTHERS = (
    "/v1/fine_tuning/jobs",
    "/v1/fine_tuning/jobs/estimate",
    "/v1/fine_tuning/alpha/graders/run",
    "/v1/fine_tuning/alpha/graders/validate",
    "/v1/uploads",
    "/v1/webhook_endpoints",
    "/v1/models/base/feedback",
)
# These check the kind of key before they read the body.
ADMINS = ("/v1/organization/projects", "/v1/fine_tuning/checkpoints/x/permissions")


def nested_arrays(nodes: int) -> bytes:
    """An object with an array of arrays: `nodes` nodes in all, the object and its key included."""
    return b'{"a":[' + b",".join([b"[]"] * (nodes - 3)) + b"]}"


BOMBS = {
    "lists": nested_arrays(5_000_000),
    "objects": b'{"a":[' + b",".join([b"{}"] * 5_000_000) + b"]}",
    "texts": b'{"a":[' + b",".join([b'""'] * 5_000_000) + b"]}",
    "keys": b"{" + b",".join(b'"%d":0' % number for number in range(1_300_000)) + b"}",
    "numbers": b'{"a":[' + b",".join([b"0"] * 7_000_000) + b"]}",
    "broken": b'{"a":[' + b",".join([b"[]"] * 5_000_000) + b'],"',
}


@pytest.fixture(scope="module")
def default_api(
    running_api: Api, database_url: str, redis_url: str, running_engine: FakeEngine
) -> Iterator[httpx.URL]:
    """A service with the default limits."""
    settings = Settings(
        home=running_api.state.settings.home,
        database_url=database_url,
        redis_url=redis_url,
        models_file=ROOT / "tests/models.toml",
        s3_bucket=None,
        engine_url=running_engine.url,
    )
    assert settings.max_body_bytes == 16 * MEBIBYTE
    with run_server(create_app(settings)) as url:
        yield httpx.URL(url)


@pytest.fixture
def http(default_api: httpx.URL, account: Account) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {account.secret}", **JSON}
    with httpx.Client(base_url=default_api, headers=headers, timeout=60) as client:
        yield client


@pytest.mark.parametrize("path", [*OTHERS, *ADMINS])
def test_other_routes_take_short_bodies_only(http: httpx.Client, path: str) -> None:
    error = expect_error(http.post(path, content=b" " * (MEBIBYTE + 1)), 413)
    assert str(MEBIBYTE) in str(error["message"])
    expect_error(http.post(path, content=(b" " * 2**16 for _ in range(17))), 413)


@pytest.mark.parametrize("path", TO_MODELS)
def test_model_routes_take_long_bodies(http: httpx.Client, path: str) -> None:
    response = http.post(path, content=b'{"a": "' + b"[,{" * (5 * MEBIBYTE) + b'"}')
    assert "valid JSON" not in str(expect_error(response, 400)["message"]), (
        "commas in a string were counted"
    )
    expect_error(http.post(path, content=b" " * (16 * MEBIBYTE + 1)), 413)


@pytest.mark.parametrize(
    ("path", "bomb"),
    [(TO_MODELS[0], bomb) for bomb in BOMBS] + [(path, "lists") for path in TO_MODELS[1:]],
)
def test_too_many_values_in_a_long_body(http: httpx.Client, path: str, bomb: str) -> None:
    error = expect_error(http.post(path, content=BOMBS[bomb]), 400)
    assert "it holds more than 40000 strings, arrays and objects" in str(error["message"])


@pytest.mark.parametrize("path", OTHERS)
def test_too_many_values_in_a_short_body(http: httpx.Client, path: str) -> None:
    for document in (nested_arrays(MAX_NODES + 1), b"[" + b"0," * (MAX_NODES + 1) + b"0]"):
        error = expect_error(http.post(path, content=document), 400)
        assert "it holds more than" in str(error["message"])


@pytest.mark.parametrize(("path", "field"), [("completions", "prompt"), ("embeddings", "input")])
def test_as_many_token_ids_as_openai_accepts(
    http: httpx.Client, engine: FakeEngine, path: str, field: str
) -> None:
    ids = [list(range(3_000))] * 100
    response = http.post(f"/v1/{path}", json={"model": "base", field: ids})
    assert response.status_code == 200, response.text
    assert engine.bodies[0][field] == ids


def test_every_route_with_a_json_body_parses_it_strictly() -> None:
    nowhere = Settings(
        database_url="postgresql://nowhere/x",
        redis_url="redis://nowhere",
        models_file=ROOT / "tests/models.toml",
    )
    routes = [each.original_route for each in iter_route_contexts(create_app(nowhere).routes)]
    with_json = [
        route
        for route in routes
        if isinstance(route, APIRoute)
        and route.body_field is not None
        and not isinstance(route.body_field.field_info, Form)
    ]
    assert len(with_json) > len(OTHERS)
    assert [each.path for each in with_json if not isinstance(each, StrictRoute)] == []


@pytest.mark.parametrize(
    "content",
    [
        b'{"model":"a\\u0000b","training_file":"x"}',
        b'{"model":"base","training_file":"a\\u0000b"}',
        b'{"model":"base","training_file":"x","seed":NaN}',
        b'\xef\xbb\xbf{"model":"base","training_file":"x"}',
        b'{"model":"base","training_file":"\xff"}',
        b'{"model":"base","training_file":"\\ud800"}',
        b'{"model":"base","training_file":"x","seed":' + b"1" * 5000 + b"}",
        b'{"model":"base","training_file":"x","user":' + b"[" * 200 + b"]" * 200 + b"}",
        b'{"model":"base","training_file":"x"',
    ],
)
def test_estimates_refuse_what_jobs_refuse(http: httpx.Client, content: bytes) -> None:
    created = http.post("/v1/fine_tuning/jobs", content=content)
    estimated = http.post("/v1/fine_tuning/jobs/estimate", content=content)
    assert created.status_code == 400
    assert (estimated.status_code, estimated.json()) == (400, created.json())


class TestParseJson:
    def test_maximum_number_of_nodes(self) -> None:
        assert len(parse_json(nested_arrays(MAX_NODES))["a"]) == MAX_NODES - 3
        self.assert_rejected(nested_arrays(MAX_NODES + 1))

    def test_maximum_number_of_values(self) -> None:
        for maximum in (MAX_NODES, MAX_VALUES_WITH_TOKEN_IDS):
            numbers = [0] * maximum
            assert parse_json(orjson.dumps(numbers), max_values=maximum) == numbers
            self.assert_rejected(orjson.dumps([*numbers, 0]), max_values=maximum)

    @pytest.mark.parametrize(
        "text", ['"', "\\", '\\"', '"[', "\\\\", '",[{', '\\\\"', "\\n", "\N{SNOWMAN}[,"]
    )
    def test_structural_characters_in_strings_do_not_count(self, text: str) -> None:
        document = {"a": text * 100_000, text * 100_000: [text, {"b": text}]}
        assert parse_json(orjson.dumps(document)) == document
        self.assert_rejected(orjson.dumps([text] * (MAX_NODES + 1)))

    def test_maximum_number_of_object_members(self) -> None:
        members = {str(number): 0 for number in range(MAX_OBJECT_MEMBERS)}
        assert parse_json(orjson.dumps({"a": [members]})) == {"a": [members]}
        with pytest.raises(json.JSONDecodeError, match="an object has more than 2048 members"):
            parse_json(orjson.dumps({"a": [members | {"more": 0}]}))
        with pytest.raises(json.JSONDecodeError, match="an object has more than 2048 members"):
            parse_json(orjson.dumps(members | {"more": 0}))

    @pytest.mark.parametrize("name", ["properties", "patternProperties", "$defs", "definitions"])
    def test_schemas_may_have_more_members(self, name: str) -> None:
        """What is too large has a sentence of its own, which names the limit of properties."""
        schema = {name: {f"p{number}": {"type": "string"} for number in range(5001)}}
        assert parse_json(orjson.dumps({"tools": [schema]})) == {"tools": [schema]}

    def assert_rejected(self, body: bytes, **limits: Any) -> None:
        with pytest.raises(json.JSONDecodeError, match="it holds more than"):
            parse_json(body, **limits)


class TestValidationErrors:
    """Only the first error is reported, so validation must stop there: each error is expensive."""

    def test_too_many_metadata_pairs(self, http: httpx.Client) -> None:
        metadata = {str(number): 0 for number in range(MAX_OBJECT_MEMBERS)}
        body = {"model": "base", "training_file": "file-x", "metadata": metadata}
        error = expect_error(http.post("/v1/fine_tuning/jobs", json=body), 400)
        assert error["message"] == "Invalid 'metadata': expected at most 16 pairs, but got 2048."

    @pytest.mark.parametrize(
        ("schema", "body", "param"),
        [
            (CreateChatCompletion, {"model": "base"}, "messages"),
            (InferenceParameters, {}, "ignore_labels"),
            (FeedbackItem, {"id": "x"}, "labels"),
            (CreateEndpoint, {"name": "x", "url": "https://x.example"}, "event_types"),
        ],
    )
    def test_list_stops_at_its_first_error(
        self, schema: type[BaseModel], body: dict[str, Any], param: str
    ) -> None:
        with pytest.raises(ValidationError) as raised:
            schema.model_validate(body | {param: [0] * 1000})
        assert raised.value.error_count() == 1


@pytest.mark.parametrize(
    "piece", [b"[],", b'"a",', b"{},", b"1,", b'"\\\\",', b'"\\"",', b"0.1e1,", b'"[{,",', b" "]
)
def test_a17_work_is_linear(piece: bytes) -> None:
    def prepare(size: int) -> Callable[[], object]:
        body = b"[" + piece * size + b"1]"

        def work() -> None:
            with suppress(json.JSONDecodeError):
                parse_json(body)

        return work

    assert_linear(prepare, max_size=2**17)
