"""A trainer that was killed is known to be dead at once, and its job goes on without it."""

import subprocess
import sys
from pathlib import Path

from app.db.session import transaction
from app.jobs import leases
from tests.worker.supervisor.fake_trainer import Workshop
from worker.supervisor.liveness_lock import Presence

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
    mine = Presence(tmp_path, "mine")
    process, name = another(tmp_path)
    assert mine.dead() == []
    process.kill()
    process.wait()
    assert mine.dead() == [name]
    mine.forget(name)
    assert mine.dead() == []


def test_two_of_one_name_are_told_apart(tmp_path: Path) -> None:
    assert Presence(tmp_path, "same").name != Presence(tmp_path, "same").name


def test_a_dead_trainers_job_goes_on_before_its_lease_ends(shop: Workshop) -> None:
    process, name = another(shop.machine.settings.home)
    job_id = shop.order(steps=2)
    with transaction(shop.sessions) as session:
        assert leases.claim(session, name, lease_seconds=3600) is not None
    shop.supervisor.sweep()
    assert shop.job(job_id).state == "running"
    process.kill()
    process.wait()
    shop.supervisor.sweep()
    assert shop.supervisor.run_next()
    assert shop.job(job_id).state == "succeeded"
