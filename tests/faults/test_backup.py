"""F45: the service is lost, and restored elsewhere from a backup taken while it worked."""

import hashlib
import threading
from contextlib import suppress
from pathlib import Path

import httpx

from app.backup.create import create_backup
from app.backup.folder import BackupFolder
from app.backup.manifest import Manifest
from app.backup.restore import restore_backup
from app.jobs.restored_jobs import ATTEMPT_GAP
from app.storage import ObjectStore, open_store
from tests.faults.checker import InvariantChecker
from tests.faults.scenario import Scenario, training_file

EPOCHS = 6


class Load:
    """Clients that upload files, delete them, and delete one that the snapshot has."""

    def __init__(self, scenario: Scenario, doomed: list[str]) -> None:
        self._scenario = scenario
        self._doomed = doomed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.deleted = 0

    def _run(self) -> None:
        with suppress(httpx.TransportError, AssertionError):
            while not self._stop.is_set():
                file = self._upload()
                for file_id in (file, *self._doomed[:1]):
                    self._scenario.request_once("DELETE", f"/v1/files/{file_id}")
                    self.deleted += 1
                del self._doomed[:1]

    def _upload(self) -> str:
        form = {"files": {"file": ("load.jsonl", training_file(12, {}))}}
        response = self._scenario.request_once(
            "POST", "/v1/files", data={"purpose": "fine-tune"}, **form
        )
        return str(response.json()["id"])

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def direct_store(scenario: Scenario) -> ObjectStore:
    """The scenario's bucket, without a node's proxy."""
    settings = next(iter(scenario.nodes.values())).settings
    port = scenario.services.objects.port
    return open_store(settings.model_copy(update={"s3_endpoint_url": f"http://127.0.0.1:{port}"}))


def destroy(scenario: Scenario) -> None:
    """Kill all processes; lose the database, the bucket's objects and all homes."""
    for node in scenario.nodes.values():
        node.kill()
        node.close()
    scenario.services.replace_database(scenario.name)
    client = scenario.services.objects.client()
    for key in list(scenario.list_keys()):
        client.delete_object(Bucket=scenario.name, Key=key)


def test_f45_a_lost_service_is_restored_from_a_backup_taken_under_load(
    scenario: Scenario, checker: InvariantChecker, tmp_path: Path
) -> None:
    scenario.start("api-1", "trainer-1", "io-1")
    done = scenario.create_job(scenario.upload_file())
    assert scenario.wait_for_jobs(done) == ["succeeded"]
    doomed = [scenario.upload_file() for _ in range(5)]
    running = scenario.create_job(
        scenario.upload_file(step_seconds=3, later_step_seconds=0.05, checkpoint_interval=1),
        epochs=EPOCHS,
    )
    scenario.wait_until("a checkpoint is stored", lambda: has_checkpoint(scenario, running))
    queued = scenario.create_job(scenario.upload_file())
    folder = BackupFolder(tmp_path / "backups")
    with Load(scenario, doomed) as load:
        scenario.wait_until("the load has begun", lambda: load.deleted > 2)
        path, manifest = create_backup(scenario.url, direct_store(scenario), folder, lambda _: None)
        assert scenario.job_state(running) == "running"
    assert manifest.damaged == ()
    store = direct_store(scenario)
    destroy(scenario)
    restore_backup(scenario.url, store, folder, path, lambda _: None)
    check_restored(scenario, manifest, store)
    resumed_from = scenario.query_value(
        "SELECT max(step) FROM checkpoints WHERE job_id = :id AND deleted_at IS NULL", id=running
    )
    scenario.start("api-2", "trainer-2", "io-2")
    assert scenario.wait_for_jobs(running, queued) == ["succeeded", "succeeded"]
    attempts = scenario.attempts(running)
    outcomes_before = [outcome for number, outcome in attempts if number < ATTEMPT_GAP]
    assert (outcomes_before[-1], attempts[-1][1]) == ("lost", "done"), attempts
    first_step = scenario.query_value(
        "SELECT min(step) FROM job_metrics WHERE job_id = :id AND attempt > :gap",
        id=running,
        gap=ATTEMPT_GAP,
    )
    assert first_step == resumed_from + 1, "the job did not resume at its checkpoint"
    models = scenario.request("GET", "/v1/models", api="api-2").json()["data"]
    assert len([model for model in models if model["id"].startswith("ft:")]) >= 3
    scenario.nodes = {name: node for name, node in scenario.nodes.items() if name.endswith("-2")}
    checker.check()


def has_checkpoint(scenario: Scenario, job: str) -> bool:
    return bool(scenario.query_value("SELECT count(*) FROM checkpoints WHERE job_id = :id", id=job))


def check_restored(scenario: Scenario, manifest: Manifest, store: ObjectStore) -> None:
    """All rows are there, and each file's bytes are those that its row names."""
    for table in manifest.tables:
        if table.name in ("job_leases", "job_attempts", "job_events", "outbox"):
            # The restore ends the attempts of jobs that were training.
            continue
        assert scenario.query_value(f"SELECT count(*) FROM {table.name}") == table.rows
    files = scenario.query("SELECT storage_key, sha256 FROM files WHERE deleted_at IS NULL")
    for key, sha256 in files:
        assert hashlib.sha256(store.get(key)).hexdigest() == sha256
