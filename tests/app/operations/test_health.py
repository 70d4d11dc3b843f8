"""Liveness and readiness probes."""

import pytest
from fastapi.testclient import TestClient

from app.db.session import SessionMaker
from app.main import create_app
from app.settings import Settings
from tests import http_client
from tests.live_api import Api
from tests.live_server import FakeEngine


def test_liveness_needs_no_key(api: Api) -> None:
    assert http_client.get(f"{api.url}/healthz").json() == {"status": "ok"}


def test_readiness_lists_every_dependency(api: Api, engine: FakeEngine) -> None:
    response = http_client.get(f"{api.url}/readyz")
    assert response.status_code == 200
    assert response.json()["status"] == "ok"
    checks = response.json()["checks"]
    assert set(checks) == {"database", "broker", "storage", "engine", "trainers", "disk"}
    assert all(check == {"ok": True, "message": None} for check in checks.values())


def test_a_loading_engine_is_not_ready(api: Api, engine: FakeEngine) -> None:
    engine.healthy = False
    response = http_client.get(f"{api.url}/readyz")
    assert response.status_code == 503
    check = response.json()["checks"].pop("engine")
    assert not check["ok"]
    assert check["message"] == "The engine cannot be used. See the API's log for the reason."


@pytest.mark.parametrize(
    ("field", "value", "dependency"),
    [
        ("database_url", "postgresql://u:p@127.0.0.1:9/none", "database"),
        ("redis_url", "redis://127.0.0.1:9/0", "broker"),
        ("engine_url", "http://127.0.0.1:9", "engine"),
    ],
)
def test_a_failed_dependency_is_named_without_its_reason(
    settings: Settings,
    sessions: SessionMaker,
    engine: FakeEngine,
    field: str,
    value: str,
    dependency: str,
) -> None:
    broken = settings.model_copy(update={"engine_url": engine.url, field: value})
    with TestClient(create_app(broken)) as http:
        response = http.get("/readyz")
        assert http.get("/healthz").status_code == 200
    assert response.status_code == 503
    failed = {name for name, check in response.json()["checks"].items() if not check["ok"]}
    assert failed == {dependency}
    assert "127.0.0.1" not in response.text
