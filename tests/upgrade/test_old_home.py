"""A home folder of the version before 0.1.0 works on: nothing is lost, paused jobs resume, models
answer. `make_home.py` says what it contains and how it was made."""

import asyncio
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, create_engine, make_url, select, text

from app.catalog import Catalog
from app.db.migrate import upgrade
from app.db.session import SessionMaker, create_database_engine, session_maker, transaction
from app.db.tables import (
    Checkpoint,
    Job,
    JobAttempt,
    JobMetric,
    Outbox,
    PeriodicTaskRun,
    TrainerProcess,
    TrainingUsage,
)
from app.main import create_app
from app.operations.orphaned_objects import OrphanCollector
from app.operations.reconciler import Reconciler
from app.settings import Settings
from app.storage import ObjectStore, join_key, open_store
from tests.http_client import TIMEOUT_SECONDS
from tests.live_server import run_server
from tests.polling import wait_until
from tests.ports import free_port
from tests.upgrade.restored_home import RestoredHome, restore, without_last_use
from worker.inference.main import make_server
from worker.supervisor.attempt import TrainerContext
from worker.supervisor.job_runner import JobRunner

pytestmark = pytest.mark.upgrade

# Fields of a job that did not exist, each null where nothing was asked for.
ADDED = ("test_file", "test_results", "evaluations")
# Names that 0.1.0 changed in responses, by the path's last part.
RENAMED = {
    "validation": {
        "file.verdict": "file.validation",
        "fault_count": "error_count",
        "faults": "errors",
    },
    "monitoring": {
        "answered": "succeeded",
        "refused": "client_error",
        "failed": "server_error",
        "left": "client_disconnected",
        "by_chance": "noise_threshold",
        "shifting": "moderate",
        "too_few": "insufficient_data",
    },
}
PAUSED_METHODS = ("supervised", "dpo", "classification")


@dataclass(frozen=True)
class Upgraded:
    """The restored home under this version: its API, database, store and settings."""

    home: RestoredHome
    settings: Settings
    url: str
    sessions: SessionMaker
    store: ObjectStore

    @property
    def record(self) -> dict[str, Any]:
        return self.home.record

    def send(
        self, method: str, path: str, *, key: str = "project", **content: Any
    ) -> httpx.Response:
        headers = {
            "Authorization": f"Bearer {self.record['secrets'][key]}",
            **content.pop("headers", {}),
        }
        response = httpx.request(
            method, self.url + path, headers=headers, timeout=TIMEOUT_SECONDS, **content
        )
        assert response.is_success, (method, path, response.text)
        return response

    def post(self, path: str, body: Any = None) -> Any:
        return self.send("POST", path, json=body).json()

    def job(self, name: str) -> Any:
        return self.send("GET", f"/v1/fine_tuning/jobs/{self.record['jobs'][name]}").json()


@pytest.fixture(scope="module")
def old_database_url(database_url: str) -> Iterator[str]:
    """An empty database beside the migrated one."""
    url = make_url(database_url).set(drivername="postgresql+psycopg")
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text("CREATE DATABASE old_home"))
    yield url.set(drivername="postgresql", database="old_home").render_as_string(
        hide_password=False
    )
    with server.connect() as connection:
        connection.execute(text("DROP DATABASE old_home WITH (FORCE)"))
    server.dispose()


@pytest.fixture(scope="module")
def database(old_database_url: str) -> Iterator[Engine]:
    engine = create_database_engine(old_database_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def upgraded(
    tmp_path_factory: pytest.TempPathFactory,
    old_database_url: str,
    database: Engine,
    redis_url: str,
    _quiet: None,
) -> Iterator[Upgraded]:
    home = restore(tmp_path_factory.mktemp("old") / "home", old_database_url)
    upgrade(old_database_url)
    settings = Settings(
        home=home.path,
        database_url=old_database_url,
        redis_url=redis_url,
        models_file=home.models_file,
        s3_bucket=None,
        engine_url=f"http://127.0.0.1:{free_port()}",
        heartbeat_interval_seconds=0.2,
        torch_threads=1,
    )
    with run_server(create_app(settings)) as url:
        yield Upgraded(home, settings, url, session_maker(database), open_store(settings))


@pytest.fixture(scope="module")
def engine(upgraded: Upgraded) -> Iterator[None]:
    """The inference engine of this version, where the API looks for it."""
    server = make_server(upgraded.settings)
    thread = threading.Thread(target=asyncio.run, args=[server.serve()])
    thread.start()
    wait_until("the engine listens", lambda: server.started)
    yield
    server.request_exit()
    thread.join(TIMEOUT_SECONDS)


@pytest.fixture(scope="module")
def resumed(upgraded: Upgraded) -> dict[str, int]:
    """Resume the paused jobs and train them to their ends; their steps at the pause, by method."""
    at_step = {method: latest_checkpoint(upgraded, method).step for method in PAUSED_METHODS}
    for method in PAUSED_METHODS:
        job_id = upgraded.record["jobs"][f"paused_{method}"]
        assert upgraded.post(f"/v1/fine_tuning/jobs/{job_id}/resume")["status"] == "queued"
    context = TrainerContext(
        settings=upgraded.settings,
        sessions=upgraded.sessions,
        store=upgraded.store,
        catalog=Catalog.load(upgraded.settings.models_file),
        stopping=threading.Event(),
    )
    JobRunner(context).run_queued()
    return at_step


def latest_checkpoint(upgraded: Upgraded, method: str) -> Checkpoint:
    job_id = upgraded.record["jobs"][f"paused_{method}"]
    with transaction(upgraded.sessions) as session:
        statement = select(Checkpoint).where(
            Checkpoint.job_id == job_id, Checkpoint.deleted_at.is_(None)
        )
        return session.scalars(statement.order_by(Checkpoint.step.desc()).limit(1)).one()


def translate(response: Any, names: dict[str, str]) -> Any:
    """A response of the old version by the names of this one."""
    if isinstance(response, list):
        return [translate(item, names) for item in response]
    if isinstance(response, dict):
        return {names.get(key, key): translate(value, names) for key, value in response.items()}
    return names.get(response, response) if isinstance(response, str) else response


def without_added_fields(response: Any) -> Any:
    """A response without the fields that this version adds: to jobs those that old ones lack, and
    to files their hash."""
    if isinstance(response, list):
        return [without_added_fields(item) for item in response]
    if isinstance(response, dict):
        return {
            key: without_added_fields(value)
            for key, value in response.items()
            if key != "sha256" and (key not in ADDED or value is not None)
        }
    return response


# Before the tests that change something.
class TestNothingIsLost:
    def test_the_api_answers_as_it_did(self, upgraded: Upgraded) -> None:
        """Files and their content, jobs, events, checkpoints, models, monitoring, webhooks and
        their deliveries, projects, keys, service accounts, permissions."""
        different = []
        for recorded in upgraded.record["responses"]:
            path = recorded["path"].replace("/verdict", "/validation")
            response = upgraded.send("GET", path, key=recorded["key"])
            names = RENAMED.get(path.rpartition("/")[2], {})
            expected = upgraded.home.move_times(translate(recorded["response"], names))
            content = without_added_fields(content_of(response))
            if without_last_use(content) != without_last_use(expected):
                different.append((path, content, expected))
        assert different == []

    @pytest.mark.parametrize("number", [0, 1])
    def test_a_repeated_request_gets_the_stored_response(
        self, upgraded: Upgraded, number: int
    ) -> None:
        """By its Idempotency-Key, and as a retry of an SDK."""
        request = upgraded.record["created"][number]
        headers = {"x-stainless-retry-count": "1", **request["headers"]}
        response = upgraded.send(
            "POST", request["path"], headers=headers, content=request["content"]
        )
        assert response.headers["idempotent-replayed"] == "true"
        assert response.json() == request["response"]

    def test_what_no_route_shows_is_there(self, upgraded: Upgraded) -> None:
        with transaction(upgraded.sessions) as session:
            assert set(session.scalars(select(TrainingUsage.job_id))) == {
                upgraded.record["jobs"][name] for name in ("supervised", "classification")
            }
            names = set(session.scalars(select(PeriodicTaskRun.name)))
            assert {"validate_jobs", "dispatch_outbox", "delete_stale_run_folders"} <= names
            assert session.scalars(select(TrainerProcess.name)).all() != []
            assert set(session.scalars(select(Outbox.kind))) <= {"notify", "delete_blobs"}
            attempts = select(JobAttempt.attempt, JobAttempt.outcome).where(
                JobAttempt.job_id == upgraded.record["jobs"]["paused_dpo"]
            )
            assert [tuple(row) for row in session.execute(attempts)] == [(1, "yielded")]

    def test_no_stored_object_is_taken_for_an_orphan(self, upgraded: Upgraded) -> None:
        before = sorted(upgraded.store.list(""))
        collector = OrphanCollector(upgraded.sessions, upgraded.store)
        assert (collector.collect(), collector.collect()) == (0, 0)
        assert sorted(upgraded.store.list("")) == before

    def test_the_reconciler_finds_nothing_to_mend(self, upgraded: Upgraded) -> None:
        Reconciler(upgraded.sessions, grace_period_seconds=1).run()
        statuses = {name: upgraded.job(name)["status"] for name in upgraded.record["jobs"]}
        assert statuses == {
            "supervised": "succeeded",
            "classification": "succeeded",
            "failed": "failed",
            "cancelled": "cancelled",
            **{f"paused_{method}": "paused" for method in PAUSED_METHODS},
        }

    def test_metrics_are_exported(self, upgraded: Upgraded) -> None:
        page = upgraded.send("GET", "/metrics", key="admin").text
        assert 'luthier_jobs{state="paused"} 3' in page
        assert "luthier_model_feedback_quality" in page


class TestModelsAnswer:
    @pytest.mark.parametrize("key", ["project", "other"])
    def test_the_chat_model(self, upgraded: Upgraded, engine: None, key: str) -> None:
        """For its project, and for one that was given permission."""
        body = {
            "model": upgraded.record["models"]["supervised"],
            "messages": [{"role": "user", "content": "7"}],
            "max_tokens": 4,
            # The end of a turn, so that there is text.
            "logit_bias": {"2": -100},
        }
        completion = upgraded.send("POST", "/v1/chat/completions", key=key, json=body).json()
        assert completion["usage"]["completion_tokens"] == 4
        assert completion["choices"][0]["message"]["content"]

    def test_the_classifier_as_it_did(self, upgraded: Upgraded, engine: None) -> None:
        classified = upgraded.record["classified"]
        response = upgraded.post("/v1/classify", classified["request"])
        for old, new in zip(classified["response"]["data"], response["data"], strict=True):
            assert new["label"] == old["label"]
            assert new["probs"] == pytest.approx(old["probs"], abs=0.02)

    def test_traffic_is_added_to_the_old_counts(self, upgraded: Upgraded, engine: None) -> None:
        path = f"/v1/models/{upgraded.record['models']['classification']}/monitoring"

        def requests() -> int:
            report = upgraded.send("GET", path, params={"hours": 48}).json()
            return int(report["requests"]["succeeded"])

        before = requests()
        assert before >= 3
        self.test_the_classifier_as_it_did(upgraded, engine)
        wait_until("the request is counted", lambda: requests() > before)


class TestWorkGoesOn:
    @pytest.mark.parametrize("method", PAUSED_METHODS)
    def test_a_paused_job_continues_at_its_step(
        self, upgraded: Upgraded, resumed: dict[str, int], method: str
    ) -> None:
        job = upgraded.job(f"paused_{method}")
        assert (job["status"], job["error"]) == ("succeeded", None)
        paused_at = resumed[method]
        assert paused_at > 0
        with transaction(upgraded.sessions) as session:
            metrics = select(JobMetric.step, JobMetric.attempt).where(JobMetric.job_id == job["id"])
            attempts = {row.step: row.attempt for row in session.execute(metrics)}
            total = session.get_one(Job, job["id"]).total_steps
        assert total is not None
        assert attempts == {step: 1 if step <= paused_at else 2 for step in range(1, total + 1)}

    def test_the_best_epoch_before_the_pause_counts(
        self, upgraded: Upgraded, resumed: dict[str, int]
    ) -> None:
        checkpoint = latest_checkpoint(upgraded, "classification")
        best = json.loads(upgraded.store.get(join_key(checkpoint.storage_prefix, "best.json")))
        with transaction(upgraded.sessions) as session:
            statement = select(JobMetric.values).where(JobMetric.job_id == checkpoint.job_id)
            epochs = [v for v in session.scalars(statement) if "full_valid_loss" in v]
        assert len(epochs) > 1
        assert best["value"] == max(values["valid_accuracy"] for values in epochs)

    def test_a_resumed_job_makes_a_model_that_answers(
        self, upgraded: Upgraded, engine: None, resumed: dict[str, int]
    ) -> None:
        model = upgraded.job("paused_classification")["fine_tuned_model"]
        assert (
            len(upgraded.post("/v1/classify", {"model": model, "input": ["w2 w41"]})["data"]) == 1
        )

    def test_an_upload_is_completed(self, upgraded: Upgraded) -> None:
        upload = upgraded.record["upload"]
        path = f"/v1/uploads/{upload['id']}"
        part = upgraded.send("POST", f"{path}/parts", files={"data": ("part", upload["rest"])})
        part_ids = [upload["part"], part.json()["id"]]
        completed = upgraded.post(f"{path}/complete", {"part_ids": part_ids})
        assert (completed["status"], completed["file"]["status"]) == ("completed", "processed")


def content_of(response: httpx.Response) -> Any:
    """The JSON of a response; the checksum of a file."""
    if response.headers["content-type"].startswith("application/json"):
        return response.json()
    return hashlib.sha256(response.content).hexdigest()
