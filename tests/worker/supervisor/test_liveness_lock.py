"""A trainer that was killed is known to be dead at once, and its job goes on without it."""

import subprocess
import sys
from pathlib import Path

from app.db.session import transaction
from app.jobs import leases
from tests.worker.supervisor.fake_trainer import TrainerFixture
from worker.supervisor.liveness_lock import LivenessLock

ROOT = Path(__file__).resolve().parents[3]
PRESENT = """
import sys, time
from pathlib import Path
from worker.supervisor.liveness_lock import Presence
print(Presence(Path(sys.argv[1]), "other").name, flush=True)
time.sleep(600)
"""


def another(home: Path) -> "tuple[subprocess.Popen[str], str]":
    """A process that is present, and its name."""
    process = subprocess.Popen(
        [sys.executable, "-c", PRESENT, str(home)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        return process, process.stdout.readline().strip()


def test_who_lives_is_not_dead_and_who_was_killed_is_until_forgotten(tmp_path: Path) -> None:
    mine = LivenessLock(tmp_path, "mine")
    process, name = another(tmp_path)
    assert mine.find_dead() == []
    process.kill()
    process.wait()
    assert mine.find_dead() == [name]
    mine.remove(name)
    assert mine.find_dead() == []


def test_two_of_one_name_are_told_apart(tmp_path: Path) -> None:
    assert LivenessLock(tmp_path, "same").name != LivenessLock(tmp_path, "same").name


def test_a_dead_trainers_job_goes_on_before_its_lease_ends(shop: TrainerFixture) -> None:
    process, name = another(shop.context.settings.home)
    job_id = shop.create_job(steps=2)
    with transaction(shop.sessions) as session:
        assert leases.acquire(session, name, lease_seconds=3600) is not None
    shop.runner.clean_up()
    assert shop.get_job(job_id).state == "running"
    process.kill()
    process.wait()
    shop.runner.clean_up()
    assert shop.runner.run_next()
    assert shop.get_job(job_id).state == "succeeded"
