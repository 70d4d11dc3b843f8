"""Failures of the service: an error in the envelope, and never a false success."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import event
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from app.http.dependencies import SessionDep
from app.main import create_app
from app.organization import bootstrap
from app.settings import Settings
from tests.live_api import Account


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    return create_app(settings)


@pytest.fixture
def http(app: FastAPI, account: Account) -> Iterator[TestClient]:
    with TestClient(app, headers={"Authorization": f"Bearer {account.secret}"}) as client:
        yield client


def test_failed_commit_is_a_500(app: FastAPI, http: TestClient) -> None:
    """The commit precedes the response, so a 200 means that the data is stored."""

    @app.post("/v1/write")
    def write(session: SessionDep, doomed: bool) -> str:
        bootstrap.ensure_default_project(session, "written")
        session.info["doomed"] = doomed
        return "done"

    def commit(session: Session) -> None:
        if session.info.get("doomed"):
            raise RuntimeError("the disk of the database is full")

    event.listen(app.state.shared.sessions, "before_commit", commit)
    assert http.post("/v1/write?doomed=false").status_code == 200
    response = http.post("/v1/write?doomed=true")
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "server_error"


def test_crash_reveals_no_internals(app: FastAPI, http: TestClient) -> None:
    @app.get("/v1/crash")
    def crash() -> None:
        raise RuntimeError("password=hunter2")

    with capture_logs() as lines:
        response = http.get("/v1/crash")
    assert response.status_code == 500
    assert "hunter2" not in response.text
    error = response.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("server_error", None, None)
    assert response.headers["x-request-id"].startswith("req_")
    (crashed,) = [line for line in lines if line["event"] == "request.crashed"]
    assert "hunter2" in repr(crashed["exc_info"])


def test_unavailable_database_is_a_503(settings: Settings) -> None:
    away = settings.model_copy(update={"database_url": "postgresql://u:p@127.0.0.1:9/none"})
    with TestClient(create_app(away), headers={"Authorization": "Bearer sk-x"}) as http:
        response = http.get("/v1/models")
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1
    assert response.json()["error"]["type"] == "server_error"
    assert "127.0.0.1" not in response.text


def test_jobs_are_created_while_the_broker_is_down(settings: Settings, account: Account) -> None:
    away = settings.model_copy(update={"redis_url": "redis://127.0.0.1:9/0"})
    headers = {"Authorization": f"Bearer {account.secret}"}
    with TestClient(create_app(away), headers=headers) as http:
        uploaded = http.post(
            "/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.jsonl", b"{}")}
        )
        job = {"model": "smollm2-135m-instruct", "training_file": uploaded.json()["id"]}
        assert http.post("/v1/fine_tuning/jobs", json=job).status_code == 200


def test_missing_database_setting_is_named(settings: Settings) -> None:
    with pytest.raises(ValueError, match="DATABASE_URL"):
        create_app(settings.model_copy(update={"database_url": None}))
