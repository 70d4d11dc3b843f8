"""What must hold after every scenario, whatever was killed in it: the invariants I1 to I10.

I1   every job that was accepted has ended
I2   it has ended once
I3   attempts follow one another: what a later one has written, no earlier one writes after
I4   events are numbered without gaps; a job that succeeded has each step's metrics once
I5   the weights are those of an undisturbed run
I6   a job that succeeded has one model and one row of usage, any other has none
I7   nothing that a commit has decided on is left undone
I8   no object, upload, run folder, process or lease without an owner
I9   clients have seen documented statuses only, and never a 500
I10  no log has a secret or a training text in it
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
from app.operations import outbox_dispatch
from app.operations.orphaned_objects import OrphanCollector
from app.storage import open_store
from tests.faults.objects import SECRET
from tests.faults.scenario import CANARY, ROOT, STEPPER, TERMINAL, World
from worker.rundir import MANIFEST_FILE, RunFolder, RunSpec

# What a client of these routes may be told.
DOCUMENTED = {200, 400, 401, 404, 408, 409, 413, 429, 503}
OUTCOMES = {"succeeded", "failed", "cancelled"}
# What waits for the broker is tried again after up to half a minute.
UNDONE_SECONDS = 120
WEIGHTS = "adapter_model.safetensors"


class Checker:
    """Asserts all invariants of a world; each failure names its invariant."""

    def __init__(self, world: World, command: tuple[str, ...] = (*STEPPER,)) -> None:
        self._world = world
        self._command = command
        self._golden: dict[tuple[Any, ...], str] = {}

    def check(self) -> None:
        world = self._world
        self._settle()
        jobs = world.rows("SELECT * FROM jobs ORDER BY created_at")
        known = {job.id for job in jobs}
        assert known >= set(world.history.accepted), "I1: an accepted job is not there any more"
        for job in jobs:
            assert job.state in TERMINAL, f"I1: {job.id} is {job.state}"
            self._ended_once(job)
            self._attempts_in_order(job)
            self._events_and_metrics(job)
            self._one_model(job)
            if job.state == "succeeded":
                self._same_weights(job)
        self._nothing_undone()
        self._no_orphans()
        self._answers()
        self._no_secrets()

    def _settle(self) -> None:
        """Give the outbox and the sweeps their turn, at once instead of within a day."""
        world = self._world
        settings = world.machines[next(iter(world.machines))].settings
        direct = settings.model_copy(
            update={"s3_endpoint_url": f"http://127.0.0.1:{world.ground.objects.port}"}
        )
        world.ground.objects.faults.clear()
        world.rows("UPDATE outbox SET available_at = clock_timestamp() WHERE done_at IS NULL")
        engine = create_database_engine(world.url, pool_size=1)
        sessions, store = session_maker(engine), open_store(direct)
        try:
            outbox_dispatch.dispatch_pending(sessions, lambda _task, _job: True, store)
            orphans = OrphanCollector(sessions, store)
            orphans.collect()
            orphans.collect()
            store.remove_unfinished(timedelta(0))
        finally:
            engine.dispose()
        self._wait_for_folders()

    def uploads(self) -> list[dict[str, str]]:
        bucket = self._world.name
        found = self._world.ground.objects.client().list_multipart_uploads(Bucket=bucket)
        return [
            {"Bucket": bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
            for upload in found.get("Uploads", [])
        ]

    def _wait_for_folders(self) -> None:
        # Trainers that live sweep them each second or so.
        deadline = time.monotonic() + 120
        while self._folders() and time.monotonic() < deadline:
            time.sleep(0.1)

    def _folders(self) -> list[Path]:
        living = (m for m in self._world.machines.values() if m.process.poll() is None)
        return [path for machine in living for path in machine.settings.home.glob("runs/*")]

    def _ended_once(self, job: Row[Any]) -> None:
        ends = self._world.rows(
            "SELECT dedupe_key FROM job_events WHERE job_id = :id AND dedupe_key = ANY(:keys)",
            id=job.id,
            keys=list(OUTCOMES),
        )
        assert [row.dedupe_key for row in ends] == [job.state], f"I2: {job.id} {job.state}: {ends}"

    def _attempts_in_order(self, job: Row[Any]) -> None:
        world = self._world
        attempts = world.rows(
            "SELECT * FROM job_attempts WHERE job_id = :id ORDER BY started_at", id=job.id
        )
        epochs = [attempt.attempt for attempt in attempts]
        assert epochs == list(range(1, len(epochs) + 1)), f"I3: {job.id} has epochs {epochs}"
        for attempt, following in pairwise(attempts):
            assert attempt.ended_at <= following.started_at, f"I3: {job.id} attempts overlap"
        assert all(a.ended_at for a in attempts), f"I3: {job.id} has an open attempt"
        told = world.rows("SELECT attempt FROM job_events WHERE job_id = :id ORDER BY seq", id=job.id)
        order = [row.attempt for row in told]
        assert order == sorted(order), f"I3: {job.id} was written to by an older attempt: {order}"

    def _events_and_metrics(self, job: Row[Any]) -> None:
        world = self._world
        events = world.rows("SELECT seq FROM job_events WHERE job_id = :id ORDER BY seq", id=job.id)
        numbers = [row.seq for row in events]
        assert numbers == list(range(1, len(numbers) + 1)), f"I4: {job.id} has events {numbers}"
        if job.state != "succeeded":
            return
        found = world.rows(
            "SELECT step FROM job_metrics WHERE job_id = :id ORDER BY step", id=job.id
        )
        steps = [row.step for row in found]
        assert steps == list(range(1, job.total_steps + 1)), f"I4: {job.id} has steps {steps}"
        key = world.value("SELECT storage_key FROM files WHERE id = :id", id=job.result_file_id)
        lines = list(csv.DictReader(io.StringIO(world.blob(key).decode())))
        assert [int(line["step"]) for line in lines] == steps, (
            f"I4: {job.id} has another result file"
        )

    def _one_model(self, job: Row[Any]) -> None:
        world = self._world
        models = world.rows(
            "SELECT name FROM fine_tuned_models WHERE job_id = :id AND step IS NULL", id=job.id
        )
        charged = world.rows("SELECT trained_tokens FROM training_usage WHERE job_id = :id", id=job.id)
        wanted = 1 if job.state == "succeeded" else 0
        assert (len(models), len(charged)) == (wanted, wanted), f"I6: {job.id} {models} {charged}"
        if wanted:
            assert models[0].name == job.fine_tuned_model, f"I6: {job.id} names another model"

    def _same_weights(self, job: Row[Any]) -> None:
        world = self._world
        prefix = world.value(
            "SELECT storage_prefix FROM fine_tuned_models WHERE name = :name", name=job.fine_tuned_model
        )
        digest = hashlib.sha256(world.blob(f"{prefix}/{WEIGHTS}")).hexdigest()
        assert digest == self._undisturbed(job), f"I5: {job.id} has other weights"

    def _undisturbed(self, job: Row[Any]) -> str:
        """The sha256 of what the same program makes of the same data when left in peace."""
        numbers = job.resolved_hyperparameters
        key = (job.training_file_id, job.seed, *sorted(numbers.items()))
        if key not in self._golden:
            self._golden[key] = self._train_in_peace(job, numbers)
        return self._golden[key]

    def _train_in_peace(self, job: Row[Any], numbers: dict[str, Any]) -> str:
        folder = RunFolder(self._world.home / "golden" / job.id)
        folder.checkpoints.mkdir(parents=True)
        file_key = self._world.value(
            "SELECT storage_key FROM files WHERE id = :id", id=job.training_file_id
        )
        folder.train_file.write_bytes(
            self._world.files.get(job.training_file_id) or self._world.blob(file_key)
        )
        model = Catalog.load(self._models_file()).get(job.base_model)
        assert model is not None
        folder.write_spec(
            RunSpec(
                job_id=job.id,
                attempt=1,
                model=model.to_json(),
                model_cache=str(self._world.home / "golden" / "cache"),
                method=job.method,
                hyperparameters=numbers,
                seed=job.seed,
                base_model=job.base_model,
                threads=1,
            )
        )
        how = ["--undisturbed"] if self._command == STEPPER else []
        subprocess.run([*self._command, str(folder.path), *how], check=True, timeout=300)
        weights = folder.checkpoint(job.total_steps) / WEIGHTS
        return hashlib.sha256(weights.read_bytes()).hexdigest()

    def _models_file(self) -> Path:
        for machine in self._world.machines.values():
            return machine.settings.models_file
        return ROOT / "models.toml"

    def _nothing_undone(self) -> None:
        deadline = time.monotonic() + UNDONE_SECONDS
        while left := self._world.rows("SELECT kind, payload FROM outbox WHERE done_at IS NULL"):
            assert time.monotonic() < deadline, f"I7: {left}"
            time.sleep(0.5)

    def _no_orphans(self) -> None:
        world = self._world
        owned = {row.storage_key for row in world.rows("SELECT storage_key FROM files")}
        folders = world.rows(
            "SELECT storage_prefix FROM checkpoints WHERE deleted_at IS NULL"
            " UNION SELECT storage_prefix FROM fine_tuned_models WHERE deleted_at IS NULL"
        )
        prefixes = tuple(f"{row.storage_prefix}/" for row in folders)
        stray = [key for key in world.keys() if key not in owned and not key.startswith(prefixes)]
        assert stray == [], f"I8: objects without an owner: {stray}"
        manifests = [key for key in world.keys() if key.endswith(MANIFEST_FILE)]
        assert len(manifests) == len(prefixes), f"I8: {prefixes} but {manifests}"
        assert self.uploads() == [], "I8: an upload was never finished"
        assert self._folders() == [], "I8: run folders are left"
        assert world.rows("SELECT * FROM job_leases") == [], "I8: a lease is left"
        assert self._trainings() == [], "I8: a training process is left"

    def _trainings(self) -> list[str]:
        mark = str(self._world.home)
        found = []
        for process in psutil.process_iter(["cmdline", "status"]):
            line = process.info["cmdline"] or []
            if any(word.startswith(mark) and "/runs/" in word for word in line):
                found.append(" ".join(line))
        return found

    def _answers(self) -> None:
        seen = {status for _, _, status in self._world.history.answers}
        assert seen <= DOCUMENTED, (
            f"I9: {sorted(seen - DOCUMENTED)} in {self._world.history.answers}"
        )

    def _no_secrets(self) -> None:
        for machine in self._world.machines.values():
            log = machine.log
            for secret in (CANARY, SECRET, self._world.secret):
                assert secret not in log, (
                    f"I10: {machine.name} has logged a secret: {_line(log, secret)}"
                )


def _line(log: str, secret: str) -> str:
    return next(line for line in log.splitlines() if secret in line)[:400]
