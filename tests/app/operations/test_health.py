"""/healthz and /readyz."""

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from tests import http_client
from tests.live_api import Api
from tests.live_server import FakeEngine


def test_alive_needs_no_key(api: Api) -> None:
    assert http_client.get(f"{api.url}/healthz").json() == {"status": "ok"}


def test_ready_names_every_part(api: Api, engine: FakeEngine) -> None:
    answer = http_client.get(f"{api.url}/readyz")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
    checks = answer.json()["checks"]
    assert set(checks) == {"database", "broker", "storage", "engine", "trainers"}
    assert all(check == {"ok": True, "message": None} for check in checks.values())


def test_a_loading_engine_is_not_ready(api: Api, engine: FakeEngine) -> None:
    engine.healthy = False
    answer = http_client.get(f"{api.url}/readyz")
    assert answer.status_code == 503
    told = answer.json()["checks"].pop("engine")
    assert not told["ok"]
    assert told["message"] == "The engine cannot be used. The log of the API says why."


@pytest.mark.parametrize(
    ("field", "value", "part"),
    [
        ("database_url", "postgresql://u:p@127.0.0.1:9/none", "database"),
        ("redis_url", "redis://127.0.0.1:9/0", "broker"),
        ("engine_url", "http://127.0.0.1:9", "engine"),
    ],
)
def test_a_part_that_is_away_is_named_and_not_described(
    settings: Settings, engine: FakeEngine, field: str, value: str, part: str
) -> None:
    broken = settings.model_copy(update={"engine_url": engine.url, field: value})
    with TestClient(create_app(broken)) as http:
        answer = http.get("/readyz")
        assert http.get("/healthz").status_code == 200
    assert answer.status_code == 503
    bad = {name for name, check in answer.json()["checks"].items() if not check["ok"]}
    assert bad == {part}
    assert "127.0.0.1" not in answer.text
