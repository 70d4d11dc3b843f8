"""Timeouts and authentication of the engine client."""

import json
import re
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from app.catalog import Catalog, CatalogModel
from app.engine_options import EngineOptions
from app.errors import ModelDamaged, ModelNotFound
from app.inference.engines import EngineClient, EngineTimeout, EngineUnavailable
from app.models.registry import ResolvedModel
from app.settings import Settings
from app.wire.engine_metadata import PROJECT_HEADER

pytestmark = pytest.mark.anyio

MODELS = Path(__file__).resolve().parents[2] / "models.toml"


async def test_a_silent_engine_times_out_and_is_disconnected(settings: Settings) -> None:
    catalog = Catalog.load(MODELS)
    base = next(iter(catalog))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        silent_engine = settings.model_copy(update={"engine_url": f"http://127.0.0.1:{port}"})
        engines = EngineClient(silent_engine, catalog, read_timeout_seconds=0.2)
        with pytest.raises(EngineTimeout, match="Set 'max_tokens'") as raised:
            async with engines.forward(
                ResolvedModel(base.id, base), "/v1/chat/completions", {}, project_id="proj_1"
            ):
                pass
        await engines.close()
        assert (raised.value.status, raised.value.headers["x-should-retry"]) == (504, "false")
        connection, _ = silent.accept()
        with connection:
            connection.settimeout(60)
            # Ends when the connection closes, as an engine's stream does after a disconnect.
            while connection.recv(65536):
                pass


async def test_the_engine_receives_its_key(settings: Settings) -> None:
    """Settings show a secret as asterisks: the header must carry the secret itself."""
    catalog = Catalog.load(MODELS)
    base = next(iter(catalog))
    with socket.create_server(("127.0.0.1", 0)) as engine:
        update = {
            "engine_url": f"http://127.0.0.1:{engine.getsockname()[1]}",
            "engine_api_key": SecretStr("engine-secret"),
        }
        client = EngineClient(settings.model_copy(update=update), catalog, read_timeout_seconds=0.2)
        with pytest.raises(EngineTimeout):
            async with client.forward(
                ResolvedModel(base.id, base), "/v1/chat/completions", {}, project_id="proj_1"
            ):
                pass
        await client.close()
        connection, _ = engine.accept()
        with connection:
            connection.settimeout(60)
            head = connection.recv(65536).lower()
        assert b"authorization: bearer engine-secret\r\n" in head
        assert b"luthier-project: proj_1\r\n" in head


async def test_a59_a_model_damaged_in_storage_is_named_and_not_retried(settings: Settings) -> None:
    catalog = Catalog.load(MODELS)
    base = next(iter(catalog))
    client = EngineClient(settings, catalog)
    paths: list[str] = []

    def respond(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        if request.url.path == "/v1/load_lora_adapter":
            return httpx.Response(503, json=ModelDamaged().body())
        return httpx.Response(404, json=ModelNotFound("m").body())

    await client.close()
    client._connection.client = httpx.AsyncClient(transport=httpx.MockTransport(respond))
    model = ResolvedModel("ft:m", base, "projects/p/jobs/j/attempt-1/step-1")
    with pytest.raises(ModelDamaged) as raised:
        async with client.forward(model, "/v1/chat/completions", {}, project_id="proj_1"):
            pass
    assert raised.value.headers["x-should-retry"] == "false"
    assert paths == ["/v1/chat/completions", "/v1/load_lora_adapter"]


async def test_a53_other_engines_are_not_told_the_project(settings: Settings) -> None:
    catalog = Catalog.load(MODELS)
    base = replace(next(iter(catalog)), engine="http://vllm.example")
    client = EngineClient(settings, catalog)
    requests: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json={"data": [{"id": "m", "owned_by": "vllm"}]})

    await client.close()
    client._connection.client = httpx.AsyncClient(transport=httpx.MockTransport(respond))
    async with client.forward(
        ResolvedModel("m", base), "/v1/chat/completions", {}, project_id="proj_1"
    ):
        pass
    assert requests
    assert all(PROJECT_HEADER not in request.headers for request in requests)


async def test_the_engine_of_one_model_does_not_make_the_service_unready(
    settings: Settings,
) -> None:
    base, *_ = Catalog.load(MODELS)
    own = replace(base, id="own", aliases=(), engine="http://own.example")
    default = "127.0.0.1"

    async def check(models: list[CatalogModel], *, away: str) -> None:
        def respond(request: httpx.Request) -> httpx.Response:
            return httpx.Response(503 if request.url.host == away else 200)

        update = {"engine_url": f"http://{default}:1"}
        client = EngineClient(settings.model_copy(update=update), Catalog(models))
        await client.close()
        client._connection.client = httpx.AsyncClient(transport=httpx.MockTransport(respond))
        await client.check_health()

    await check([base, own], away="own.example")
    with pytest.raises(EngineUnavailable):
        await check([base, own], away=default)
    with pytest.raises(EngineUnavailable):
        await check([own], away="own.example")


class Served:
    """An engine that knows its base model by a name that can change."""

    def __init__(self, client: EngineClient) -> None:
        self.name = "first"
        self.is_away = False
        self.num_asked = 0
        self.bodies: list[dict[str, Any]] = []
        transport = httpx.MockTransport(self.respond)
        client._connection.client = httpx.AsyncClient(transport=transport)

    def respond(self, request: httpx.Request) -> httpx.Response:
        if self.is_away:
            raise httpx.ConnectError("away")
        if request.url.path == "/v1/models":
            self.num_asked += 1
            return httpx.Response(200, json={"data": [{"id": self.name, "owned_by": "vllm"}]})
        self.bodies.append(json.loads(request.content))
        if self.bodies[-1]["model"] == self.name:
            return httpx.Response(200, json={"choices": []})
        error = {"message": f"The model `{self.bodies[-1]['model']}` does not exist."}
        return httpx.Response(404, json={"error": error})


async def test_an_engine_restarted_under_another_name_is_asked_again(settings: Settings) -> None:
    base = replace(next(iter(Catalog.load(MODELS))), engine="http://vllm.example")
    client = EngineClient(settings, Catalog.load(MODELS))
    await client.close()
    engine = Served(client)

    async def ask() -> int:
        model = ResolvedModel("m", base)
        async with client.forward(model, "/v1/chat/completions", {}, project_id="p") as response:
            return response.status

    assert await ask() == 200
    assert await ask() == 200
    assert engine.num_asked == 1
    engine.name = "second"
    assert await ask() == 200
    assert engine.num_asked == 2
    engine.is_away = True
    with pytest.raises(EngineUnavailable):
        await ask()
    engine.is_away, engine.name = False, "third"
    seen = len(engine.bodies)
    assert await ask() == 200
    assert [body["model"] for body in engine.bodies[seen:]] == ["third"]


@pytest.mark.parametrize("kind", ["vllm", "sglang", "other"])
async def test_projects_share_no_prefixes(settings: Settings, kind: str) -> None:
    options = EngineOptions(kind=kind, model="first")
    base = replace(
        next(iter(Catalog.load(MODELS))), engine="http://vllm.example", engine_options=options
    )
    salts = []
    for key in ("one", "two"):
        update = {"engine_api_key": SecretStr(key)}
        client = EngineClient(settings.model_copy(update=update), Catalog.load(MODELS))
        await client.close()
        engine = Served(client)
        for project in ("p", "q", "p"):
            body = {"cache_salt": "of another project"} if kind != "other" else {}
            async with client.forward(
                ResolvedModel("m", base), "/v1/chat/completions", body, project_id=project
            ):
                pass
        salts += [body.get("cache_salt") for body in engine.bodies]
    if kind == "other":
        assert set(salts) == {None}
        return
    assert salts[0] == salts[2] != salts[1]
    assert len(set(salts)) == 4
    assert all(re.fullmatch("[0-9a-f]{64}", salt) for salt in salts)
