"""A killed trainer is noticed at once, and its job resumes without it."""

import subprocess
import sys
from pathlib import Path

from app.db.session import transaction
from app.jobs import leases
from tests.worker.supervisor.fake_trainer import TrainerFixture
from worker.supervisor.liveness_lock import LivenessLock

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import sys, time
from pathlib import Path
from worker.supervisor.liveness_lock import LivenessLock
print(LivenessLock(Path(sys.argv[1]), "other").name, flush=True)
time.sleep(600)
"""


def start_trainer(home: Path) -> "tuple[subprocess.Popen[str], str]":
    """Start a process that holds a lock; returns it and its name."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(home)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        return process, process.stdout.readline().strip()


def test_a_killed_trainer_is_found_dead_until_removed(tmp_path: Path) -> None:
    lock = LivenessLock(tmp_path, "mine")
    process, name = start_trainer(tmp_path)
    assert lock.find_dead() == []
    process.kill()
    process.wait()
    assert lock.find_dead() == [name]
    lock.remove(name)
    assert lock.find_dead() == []


def test_names_are_unique(tmp_path: Path) -> None:
    assert LivenessLock(tmp_path, "same").name != LivenessLock(tmp_path, "same").name


def test_a_dead_trainers_job_resumes_before_its_lease_expires(trainer: TrainerFixture) -> None:
    process, name = start_trainer(trainer.context.settings.home)
    job_id = trainer.create_job(steps=2)
    with transaction(trainer.sessions) as session:
        assert leases.acquire(session, name, lease_seconds=3600) is not None
    trainer.runner.clean_up()
    assert trainer.get_job(job_id).state == "running"
    process.kill()
    process.wait()
    trainer.runner.clean_up()
    assert trainer.runner.run_next()
    assert trainer.get_job(job_id).state == "succeeded"
