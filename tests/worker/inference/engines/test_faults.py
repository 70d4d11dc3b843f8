"""Other engines that restart empty, fail, are away or refuse an adapter; storage that is away."""

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from openai import APIError

from app.catalog import CatalogModel
from app.db.session import SessionMaker
from app.engine_options import EngineOptions
from app.inference.engines import EngineClient
from app.inference.replicas import Replica
from app.settings import Settings
from app.storage import StorageUnavailable
from tests.live_server import run_server
from tests.polling import wait_until
from tests.worker.inference.engines.backends import (
    Served,
    running_api,
    serve_tuned,
)
from tests.worker.inference.engines.stand_in import StandIn

# Base models, by the options of their engines, and the number of their replicas.
SETUPS: dict[str, tuple[int, dict[str, Any], dict[str, Any]]] = {
    "pair": (2, {}, {}),
    "single": (1, {}, {}),
    "limited": (1, {"max_lora_rank": 8}, {}),
    "plain": (1, {}, {"loads_adapters": False}),
}


@dataclass
class Service:
    """An API with stand-ins of each setup."""

    app: FastAPI
    url: str
    entries: dict[str, CatalogModel]
    engines: dict[str, list[StandIn]]
    folder: Path


@dataclass
class Fleet:
    """The stand-ins of one base model, and a model tuned from it."""

    served: Served
    engines: list[StandIn]
    folder: Path
    replicas: list[Replica]

    def ask(self, content: str = "hello", **changes: Any) -> httpx.Response:
        body = {"model": self.served.tuned, "max_tokens": 20, **changes}
        body["messages"] = [{"role": "user", "content": content}]
        return self.served.http.post("/v1/chat/completions", json=body)

    def busy(self) -> StandIn:
        """The replica that answers the tuned model."""
        return next(engine for engine in self.engines if engine.adapters)

    def idle(self) -> StandIn:
        return next(engine for engine in self.engines if not engine.adapters)


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory,
    database_url: str,
    redis_url: str,
    base_model: CatalogModel,
    _quiet: None,
) -> Iterator[Service]:
    home = tmp_path_factory.mktemp("service")
    entries, engines = {}, {}
    with ExitStack() as stack:
        for name, (replicas, options, stand_in) in SETUPS.items():
            engines[name] = [StandIn(**stand_in) for _ in range(replicas)]
            urls = [stack.enter_context(run_server(each.app())) for each in engines[name]]
            options = {"adapters": str(home / "adapters"), **options}
            entries[name] = replace(
                base_model, id=name, engine=tuple(urls), engine_options=EngineOptions(**options)
            )
        settings = Settings(
            home=home, database_url=database_url, redis_url=redis_url, s3_bucket=None
        )
        app, url = stack.enter_context(running_api(home, settings, *entries.values()))
        yield Service(app, url, entries, engines, home / "adapters")


@pytest.fixture
def make_fleet(
    service: Service, sessions: SessionMaker, base_folder: Path
) -> Iterator[Callable[..., Fleet]]:
    with ExitStack() as stack:

        def make(setup: str = "pair", **adapter: Any) -> Fleet:
            base, engines = service.entries[setup], service.engines[setup]
            for engine in engines:
                engine.reset()
            shutil.rmtree(service.folder, ignore_errors=True)
            name = f"ft:{setup}:acme:desk:{secrets.token_hex(4)}"
            served = serve_tuned(
                service.app, service.url, sessions, base, base_folder, name, **adapter
            )
            stack.enter_context(served.http)
            stack.enter_context(served.openai)
            client: EngineClient = service.app.state.engines
            replicas = client._find_replicas(base)
            for replica in replicas:
                replica.mark_present()
            return Fleet(served, engines, service.folder, replicas)

        yield make


def error_of(response: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = response.json()["error"]
    return error


class TestReplicas:
    def test_an_adapter_is_loaded_where_its_requests_go(
        self, make_fleet: Callable[..., Fleet]
    ) -> None:
        fleet = make_fleet()
        answers = {fleet.ask().json()["choices"][0]["message"]["content"] for _ in range(6)}
        assert len(answers) == 1
        assert len(fleet.busy().loads) == 1
        assert fleet.idle().loads == []

    def test_the_other_replica_answers_if_one_fails_before_its_first_byte(
        self, make_fleet: Callable[..., Fleet]
    ) -> None:
        fleet = make_fleet()
        before = fleet.ask().json()["choices"][0]["message"]["content"]
        first, second = fleet.busy(), fleet.idle()
        first.failing_with = 500
        for stream in (False, True):
            response = fleet.ask(stream=stream)
            assert response.status_code == 200, response.text
        assert fleet.ask().json()["choices"][0]["message"]["content"] == before
        assert len(second.loads) == 1

    def test_a_replica_that_restarts_empty_loads_again(
        self, make_fleet: Callable[..., Fleet]
    ) -> None:
        fleet = make_fleet()
        assert fleet.ask().status_code == 200
        engine = fleet.busy()
        engine.restart()
        assert fleet.ask(stream=True).status_code == 200
        assert len(engine.loads) == 2

    def test_all_away(self, make_fleet: Callable[..., Fleet]) -> None:
        fleet = make_fleet()
        for engine in fleet.engines:
            engine.failing_with = 503
        response = fleet.ask()
        assert response.status_code == 503
        assert response.headers["retry-after"]
        assert error_of(response)["type"] == "server_error"

    def test_a_stream_that_has_begun_is_not_begun_again(
        self, make_fleet: Callable[..., Fleet]
    ) -> None:
        fleet = make_fleet()
        with pytest.raises(APIError, match="engine is unavailable"):
            list(
                fleet.served.openai.chat.completions.create(
                    model=fleet.served.tuned,
                    messages=[{"role": "user", "content": "die"}],
                    max_tokens=20,
                    stream=True,
                )
            )
        asked = [body for engine in fleet.engines for body in engine.bodies]
        # The one before its adapter was loaded, and the one that died.
        assert len(asked) == 2

    def test_an_error_in_a_stream_has_the_form_of_the_contract(
        self, make_fleet: Callable[..., Fleet]
    ) -> None:
        fleet = make_fleet()
        events = fleet.ask("fail", stream=True).text.split("\n\n")
        errors = [json.loads(e.removeprefix("data: ")) for e in events if '"error"' in e]
        assert [error["error"]["type"] for error in errors] == ["server_error"]

    def test_nothing_is_held_after_disconnects(self, make_fleet: Callable[..., Fleet]) -> None:
        fleet = make_fleet()

        def disconnect(_: int) -> None:
            messages = [{"role": "user", "content": "forever"}]
            body = {"model": fleet.served.tuned, "messages": messages, "stream": True}
            body["max_tokens"] = 20
            with fleet.served.http.stream("POST", "/v1/chat/completions", json=body) as response:
                next(response.iter_lines())

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(disconnect, range(16)))
        wait_until("the engines stop", lambda: not any(e.num_in_flight for e in fleet.engines))
        wait_until("no request is held", lambda: not any(r.in_flight for r in fleet.replicas))
        held = f"/proc/{os.getpid()}/fd"
        assert not [
            link
            for name in os.listdir(held)
            if (link := _read_link(f"{held}/{name}")).startswith(str(fleet.folder))
        ], "the adapter's lock is released"


def _read_link(path: str) -> str:
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return ""


class TestAdapters:
    def test_deleting_a_model_unloads_it_and_removes_its_files(
        self, make_fleet: Callable[..., Fleet]
    ) -> None:
        fleet = make_fleet()
        assert fleet.ask().status_code == 200
        assert len(list(fleet.folder.iterdir())) == 1
        assert fleet.served.http.delete(f"/v1/models/{fleet.served.tuned}").status_code == 200
        wait_until("it is unloaded", lambda: not any(e.adapters for e in fleet.engines))
        wait_until("its files are removed", lambda: not list(fleet.folder.iterdir()))
        assert fleet.ask().status_code == 404

    def test_files_that_were_removed_are_fetched_before_the_engine_needs_them(
        self, make_fleet: Callable[..., Fleet]
    ) -> None:
        fleet = make_fleet()
        assert fleet.ask().status_code == 200
        shutil.rmtree(fleet.folder)
        fleet.busy().restart()
        assert fleet.ask().status_code == 200

    def test_storage_that_is_away(
        self, make_fleet: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fleet = make_fleet()

        def fail(*_: Any) -> None:
            raise StorageUnavailable("the bucket does not respond")

        store = fleet.served.app.state.shared.store
        with monkeypatch.context() as patch:
            patch.setattr(store, "download", fail)
            response = fleet.ask()
        assert response.status_code == 503
        assert "storage is temporarily unavailable" in error_of(response)["message"]
        assert list(fleet.folder.glob("*")) == [], "no half of an adapter"
        assert fleet.ask().status_code == 200

    def test_damaged_in_storage(self, make_fleet: Callable[..., Fleet]) -> None:
        fleet = make_fleet()
        store = fleet.served.app.state.shared.store
        store.put(f"{fleet.served.prefix}/adapter_model.safetensors", b"not what was stored")
        response = fleet.ask()
        assert (response.status_code, error_of(response)["code"]) == (503, "model_damaged")
        assert all(engine.loads == [] for engine in fleet.engines)

    @pytest.mark.parametrize(
        ("setup", "changes", "sentence"),
        [
            ("single", {"r": 16}, "LoRA rank 16 is greater than max_lora_rank 8"),
            ("limited", {"r": 16}, "rank 16, and the engine accepts at most 8"),
            ("single", {"use_dora": True}, "uses DoRA"),
            ("single", {"modules_to_save": ["lm_head"]}, "whole trained modules"),
            ("single", {"base_model_name_or_path": "another"}, "was trained on `another`"),
        ],
    )
    def test_an_adapter_that_the_engine_cannot_serve(
        self,
        make_fleet: Callable[..., Fleet],
        setup: str,
        changes: dict[str, Any],
        sentence: str,
    ) -> None:
        fleet = make_fleet(setup, **changes)
        response = fleet.ask()
        error = error_of(response)
        assert (response.status_code, error["code"]) == (400, "unsupported_by_engine")
        assert sentence in error["message"]
        assert list(fleet.engines[0].adapters) == []

    def test_an_engine_without_adapters(self, make_fleet: Callable[..., Fleet]) -> None:
        fleet = make_fleet("plain")
        error = error_of(fleet.ask())
        assert error["code"] == "unsupported_by_engine"
        assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" in error["message"]

    def test_another_project_cannot_use_the_name_at_the_engine(
        self, make_fleet: Callable[..., Fleet]
    ) -> None:
        fleet = make_fleet()
        assert fleet.ask().status_code == 200
        (name,) = fleet.busy().adapters
        assert fleet.ask(model=name).status_code == 404

    def test_fields_that_the_engine_would_drop_are_refused(
        self, make_fleet: Callable[..., Fleet]
    ) -> None:
        fleet = make_fleet("single")
        functions = [{"name": "f", "parameters": {}}]
        error = error_of(fleet.ask(functions=functions))
        assert (error["param"], error["code"]) == ("functions", "unsupported_by_engine")

    def test_a_limit_is_sent_where_the_request_names_none(
        self, make_fleet: Callable[..., Fleet]
    ) -> None:
        """And is left out where the engine has no room for it."""
        fleet = make_fleet("single")
        assert fleet.ask(max_tokens=None).status_code == 200
        sent = [body.get("max_completion_tokens") for body in fleet.engines[0].bodies]
        assert sent == [2048, 2048, None], "unknown adapter, too long a context, answered"
