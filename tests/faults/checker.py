"""Invariants I1 to I10, which must hold after every scenario, whatever was killed in it.

I1   every job whose creation was confirmed is in a terminal state
I2   it reached a terminal state once
I3   attempts do not overlap, and no attempt writes after a later one has written
I4   events are numbered without gaps; a succeeded job has the metrics of each step once
I5   the weights equal those of an undisturbed run, bit by bit
I6   a succeeded job has one model and one row of usage, any other job has none
I7   the outbox is empty: every committed side effect was performed
I8   no object, upload, run folder, process or lease is orphaned
I9   clients received documented statuses only, and never a 500
I10  no log contains a secret or a training text
"""

import csv
import hashlib
import io
import subprocess
import time
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Row

from app.catalog import Catalog
from app.db.session import create_database_engine, session_maker
from app.jobs.restored_jobs import ATTEMPT_GAP
from app.manifests import MANIFEST_FILE
from app.operations import outbox_dispatch
from app.operations.orphaned_objects import OrphanCollector
from app.storage import MARKER_KEY, open_store
from tests.faults.node import CANARY, ROOT, TRAINER_COMMAND
from tests.faults.object_store import SECRET
from tests.faults.scenario import TERMINAL, Scenario
from worker.run_folder import RunFolder, RunSpec

DOCUMENTED_STATUSES = {200, 400, 401, 404, 408, 409, 413, 429, 503, 507}
# The outbox retries after up to half a minute when the broker was away.
OUTBOX_TIMEOUT_SECONDS = 120
WEIGHTS = "adapter_model.safetensors"


class InvariantChecker:
    """Asserts all invariants of a scenario; each failure message names its invariant."""

    def __init__(
        self, scenario: Scenario, command: tuple[str, ...] = TRAINER_COMMAND, *, processes: int = 1
    ) -> None:
        """The undisturbed run has as many `processes` as the scenario's trainers give a job."""
        self._scenario = scenario
        self._command = command
        self._processes = processes
        self._expected_weights: dict[tuple[Any, ...], str] = {}

    def check(self) -> None:
        scenario = self._scenario
        self._settle()
        jobs = scenario.query("SELECT * FROM jobs ORDER BY created_at")
        known = {job.id for job in jobs}
        assert known >= set(scenario.history.job_ids), "I1: a confirmed job is missing"
        for job in jobs:
            assert job.state in TERMINAL, f"I1: {job.id} is {job.state}"
            self._check_terminal_event(job)
            self._check_attempt_order(job)
            self._check_events_and_metrics(job)
            self._check_model_and_usage(job)
            if job.state == "succeeded":
                self._check_weights(job)
        self._check_outbox()
        self._check_orphans()
        self._check_statuses()
        self._check_logs()

    def _settle(self) -> None:
        """Run the outbox and the cleanup tasks now, instead of within a day."""
        scenario = self._scenario
        settings = scenario.nodes[next(iter(scenario.nodes))].settings
        direct = settings.model_copy(
            update={"s3_endpoint_url": f"http://127.0.0.1:{scenario.services.objects.port}"}
        )
        scenario.services.objects.faults.clear()
        scenario.query("UPDATE outbox SET available_at = clock_timestamp() WHERE done_at IS NULL")
        engine = create_database_engine(scenario.url, pool_size=1)
        sessions, store = session_maker(engine), open_store(direct)
        try:
            outbox_dispatch.dispatch_pending(sessions, lambda _task, _job: True, store)
            orphans = OrphanCollector(sessions, store)
            orphans.collect()
            orphans.collect()
            store.remove_unfinished(timedelta(0))
        finally:
            engine.dispose()
        self._wait_for_run_folders()

    def list_multipart_uploads(self) -> list[dict[str, str]]:
        bucket = self._scenario.name
        found = self._scenario.services.objects.client().list_multipart_uploads(Bucket=bucket)
        return [
            {"Bucket": bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
            for upload in found.get("Uploads", [])
        ]

    def _wait_for_run_folders(self) -> None:
        # Live trainers delete stale ones about every second.
        deadline = time.monotonic() + 120
        while self._list_run_folders() and time.monotonic() < deadline:
            time.sleep(0.1)

    def _list_run_folders(self) -> list[Path]:
        live_nodes = (node for node in self._scenario.nodes.values() if node.process.poll() is None)
        return [path for node in live_nodes for path in node.settings.home.glob("runs/*")]

    def _check_terminal_event(self, job: Row[Any]) -> None:
        events = self._scenario.query(
            "SELECT dedupe_key FROM job_events WHERE job_id = :id AND dedupe_key = ANY(:keys)",
            id=job.id,
            keys=list(TERMINAL),
        )
        assert [row.dedupe_key for row in events] == [job.state], (
            f"I2: {job.id} {job.state}: {events}"
        )

    def _check_attempt_order(self, job: Row[Any]) -> None:
        scenario = self._scenario
        attempts = scenario.query(
            "SELECT * FROM job_attempts WHERE job_id = :id ORDER BY started_at", id=job.id
        )
        # A restore adds the gap once, to the numbers of unfinished jobs.
        numbers = [attempt.attempt % ATTEMPT_GAP for attempt in attempts]
        assert numbers == list(range(1, len(numbers) + 1)), f"I3: {job.id} has attempts {numbers}"
        for attempt, following in pairwise(attempts):
            assert attempt.ended_at <= following.started_at, f"I3: {job.id} attempts overlap"
        assert all(a.ended_at for a in attempts), f"I3: {job.id} has an open attempt"
        events = scenario.query(
            "SELECT attempt FROM job_events WHERE job_id = :id ORDER BY seq", id=job.id
        )
        order = [row.attempt for row in events]
        assert order == sorted(order), f"I3: an older attempt wrote to {job.id}: {order}"

    def _check_events_and_metrics(self, job: Row[Any]) -> None:
        scenario = self._scenario
        events = scenario.query(
            "SELECT seq FROM job_events WHERE job_id = :id ORDER BY seq", id=job.id
        )
        numbers = [row.seq for row in events]
        assert numbers == list(range(1, len(numbers) + 1)), f"I4: {job.id} has events {numbers}"
        if job.state != "succeeded":
            return
        found = scenario.query(
            "SELECT step FROM job_metrics WHERE job_id = :id ORDER BY step", id=job.id
        )
        steps = [row.step for row in found]
        assert steps == list(range(1, job.total_steps + 1)), f"I4: {job.id} has steps {steps}"
        key = scenario.query_value(
            "SELECT storage_key FROM files WHERE id = :id", id=job.result_file_id
        )
        lines = list(csv.DictReader(io.StringIO(scenario.read_object(key).decode())))
        assert [int(line["step"]) for line in lines] == steps, (
            f"I4: {job.id} has a wrong result file"
        )

    def _check_model_and_usage(self, job: Row[Any]) -> None:
        scenario = self._scenario
        models = scenario.query(
            "SELECT name FROM fine_tuned_models WHERE job_id = :id AND step IS NULL", id=job.id
        )
        usage = scenario.query(
            "SELECT trained_tokens FROM training_usage WHERE job_id = :id", id=job.id
        )
        expected = 1 if job.state == "succeeded" else 0
        assert (len(models), len(usage)) == (expected, expected), f"I6: {job.id} {models} {usage}"
        if expected:
            assert models[0].name == job.fine_tuned_model, f"I6: {job.id} names another model"

    def _check_weights(self, job: Row[Any]) -> None:
        scenario = self._scenario
        prefix = scenario.query_value(
            "SELECT storage_prefix FROM fine_tuned_models WHERE name = :name",
            name=job.fine_tuned_model,
        )
        digest = hashlib.sha256(scenario.read_object(f"{prefix}/{WEIGHTS}")).hexdigest()
        assert digest == self._undisturbed_sha256(job), f"I5: {job.id} has other weights"

    def _undisturbed_sha256(self, job: Row[Any]) -> str:
        """SHA-256 of the weights that the same training yields without faults."""
        hyperparameters = job.resolved_hyperparameters
        key = (job.training_file_id, job.seed, *sorted(hyperparameters.items()))
        if key not in self._expected_weights:
            self._expected_weights[key] = self._train_undisturbed(job, hyperparameters)
        return self._expected_weights[key]

    def _train_undisturbed(self, job: Row[Any], hyperparameters: dict[str, Any]) -> str:
        folder = RunFolder(self._scenario.home / "undisturbed" / job.id)
        folder.checkpoints.mkdir(parents=True)
        file_key = self._scenario.query_value(
            "SELECT storage_key FROM files WHERE id = :id", id=job.training_file_id
        )
        folder.train_file.write_bytes(
            self._scenario.files.get(job.training_file_id) or self._scenario.read_object(file_key)
        )
        model = Catalog.load(self._models_file()).get(job.base_model)
        assert model is not None
        folder.write_spec(
            RunSpec(
                job_id=job.id,
                attempt=1,
                model=model.to_json(),
                model_cache=str(self._scenario.home / "undisturbed" / "cache"),
                method=job.method,
                hyperparameters=hyperparameters,
                seed=job.seed,
                base_model=job.base_model,
                threads=1,
                processes=self._processes,
            )
        )
        options = ["--undisturbed"] if self._command == TRAINER_COMMAND else []
        subprocess.run([*self._command, str(folder.path), *options], check=True, timeout=300)
        weights = folder.checkpoint(job.total_steps) / WEIGHTS
        return hashlib.sha256(weights.read_bytes()).hexdigest()

    def _models_file(self) -> Path:
        for node in self._scenario.nodes.values():
            return node.settings.models_file
        return ROOT / "models.toml"

    def _check_outbox(self) -> None:
        deadline = time.monotonic() + OUTBOX_TIMEOUT_SECONDS
        while left := self._scenario.query(
            "SELECT kind, payload FROM outbox WHERE done_at IS NULL"
        ):
            assert time.monotonic() < deadline, f"I7: {left}"
            time.sleep(0.5)

    def _check_orphans(self) -> None:
        scenario = self._scenario
        files = scenario.query("SELECT storage_key FROM files")
        owned = {MARKER_KEY, *(row.storage_key for row in files)}
        folders = scenario.query(
            "SELECT storage_prefix FROM checkpoints WHERE deleted_at IS NULL"
            " UNION SELECT storage_prefix FROM fine_tuned_models WHERE deleted_at IS NULL"
        )
        prefixes = tuple(f"{row.storage_prefix}/" for row in folders)
        orphans = [
            key for key in scenario.list_keys() if key not in owned and not key.startswith(prefixes)
        ]
        assert orphans == [], f"I8: orphaned objects: {orphans}"
        manifests = [key for key in scenario.list_keys() if key.endswith(MANIFEST_FILE)]
        assert len(manifests) == len(prefixes), f"I8: {prefixes} but {manifests}"
        assert self.list_multipart_uploads() == [], "I8: a multipart upload is left"
        assert self._list_run_folders() == [], "I8: run folders are left"
        assert scenario.query("SELECT * FROM job_leases") == [], "I8: a lease is left"
        assert self._list_training_processes() == [], "I8: a training process is left"

    def _list_training_processes(self) -> list[str]:
        home = str(self._scenario.home)
        found = []
        for process in psutil.process_iter(["cmdline", "status"]):
            line = process.info["cmdline"] or []
            # A forked process shows the name of its run folder, one of its own the whole path.
            is_own = any(word.startswith(home) and "/runs/" in word for word in line)
            if is_own or any(
                job in word for word in line for job in self._scenario.history.job_ids
            ):
                found.append(" ".join(line))
        return found

    def _check_statuses(self) -> None:
        statuses = {status for _, _, status in self._scenario.history.responses}
        undocumented = statuses - DOCUMENTED_STATUSES
        assert not undocumented, f"I9: {sorted(undocumented)} in {self._scenario.history.responses}"

    def _check_logs(self) -> None:
        for node in self._scenario.nodes.values():
            log = node.log
            for secret in (CANARY, SECRET, self._scenario.secret):
                assert secret not in log, (
                    f"I10: {node.name} logged a secret: {_line_with(log, secret)}"
                )


def _line_with(log: str, secret: str) -> str:
    return next(line for line in log.splitlines() if secret in line)[:400]
