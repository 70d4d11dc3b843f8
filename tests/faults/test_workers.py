"""Workers are stopped, cut off, misled by their clocks, given poison, upgraded; owners interfere.

A lease of 6 s, a heartbeat of 0.5 s and a poll of 1 s stand for 60 s, 10 s and 2 s, where a test
does not say otherwise.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.faults.checker import Checker
from tests.faults.measurements import Figures
from tests.faults.scenario import LEASE_SECONDS, TERMINAL, World, asked

DRAINS = 10
CANCELS = 30


def outcomes(world: World, job: str) -> list[str]:
    return [outcome for _, outcome in world.attempts(job)]


def is_attempt(world: World, job: str, number: int) -> bool:
    return len(world.attempts(job)) == number


@pytest.mark.fault_smoke
def test_f33_a_trainer_that_is_asked_to_end_gives_its_job_back(
    world: World, checker: Checker
) -> None:
    world.start("api-1", "trainer-1", "io-1", lease_seconds=60)
    job = world.create(world.upload(pace=0.3, then=0), passes=20)
    world.reaches(job, 2)
    world["trainer-1"].terminate()
    assert world["trainer-1"].end() == 0
    world.start("trainer-2", lease_seconds=60)
    assert world.finish(job) == ["succeeded"]
    assert outcomes(world, job) == ["yielded", "done"]
    assert world.value("SELECT no_progress_attempts FROM jobs WHERE id = :id", id=job) == 0
    checker.check()


def test_f33_ten_trainers_give_one_job_back_in_turn(
    world: World, checker: Checker, figures: Figures
) -> None:
    world.start("api-1", "trainer-0", "io-1")
    job = world.create(world.upload(pace=0.3), passes=30)
    for number in range(DRAINS):
        world.until("it trains", partial(is_attempt, world, job, number + 1))
        world.reaches(job, world.step(job) + 2)
        # While the one ends, the next starts.
        world.start(f"trainer-{number + 1}")
        began = time.monotonic()
        world[f"trainer-{number}"].terminate()
        assert world[f"trainer-{number}"].end() == 0
        figures.add("drain of a trainer", time.monotonic() - began, at_most=30)
    assert world.finish(job) == ["succeeded"]
    assert outcomes(world, job) == ["yielded"] * DRAINS + ["done"]
    checker.check()


def test_f34_a_trainer_is_killed_two_seconds_after_it_was_asked_to_end(
    world: World, checker: Checker
) -> None:
    world.start("api-1", "trainer-1", "io-1")
    job = world.create(world.upload(pace=0.4, then=0, deaf=True), passes=20)
    world.reaches(job, 5)
    stored = "SELECT max(step) FROM checkpoints WHERE job_id = :id"
    world.until("a pass is stored", lambda: world.value(stored, id=job))
    world["trainer-1"].terminate()
    time.sleep(2)
    made = world.step(job)
    world["trainer-1"].kill()
    # A pass over the data has 3 steps: no more than that is made twice, and what is on its way.
    assert world.value(stored, id=job) >= made - 6
    world.start("trainer-2")
    assert world.finish(job) == ["succeeded"]
    assert outcomes(world, job) == ["lost", "done"]
    checker.check()


@pytest.mark.parametrize("leases", [0.4, 2])
def test_f35_a_trainer_is_cut_off_from_the_database_alone(
    world: World, checker: Checker, leases: float
) -> None:
    """2 and 20 minutes become less than a lease and two of them; a lease has 10 s."""
    world.start("api-1", "trainer-1", "io-1", "trainer-2", lease_seconds=10)
    world["trainer-2"].database.black_hole()
    job = world.create(world.upload(pace=0.3, then=0), passes=20)
    world.reaches(job, 3)
    world["trainer-1"].database.black_hole()
    world["trainer-2"].database.heal()
    time.sleep(leases * 10)
    world["trainer-1"].database.heal()
    assert world.finish(job) == ["succeeded"]
    assert outcomes(world, job) == (["done"] if leases < 1 else ["lost", "done"])
    checker.check()


def test_f35_a_trainer_that_nobody_can_hear_ends_its_training(
    world: World, checker: Checker
) -> None:
    """20 minutes with 15 minutes of patience become three leases with one of patience."""
    world.start("api-1", "io-1")
    world.start("trainer-1", database_outage_timeout_seconds=LEASE_SECONDS)
    job = world.create(world.upload(pace=0.3, then=0), passes=40)
    world.reaches(job, 3)
    world["trainer-1"].database.refuse()
    world.until("it trains no more", lambda: not world["trainer-1"].trainings())
    assert world.state(job) not in TERMINAL
    world["trainer-1"].database.heal()
    assert world.finish(job) == ["succeeded"]
    assert outcomes(world, job) == ["lost", "done"]
    checker.check()


def test_f36_a_trainer_is_cut_off_from_everything(world: World, checker: Checker) -> None:
    world.start("api-1", "trainer-1", "io-1")
    job = world.create(world.upload(pace=0.3, then=0.05), passes=40)
    world.reaches(job, 3)
    for way in world["trainer-1"].ways:
        way.black_hole()
    world.start("trainer-2")
    world.until("another has it", lambda: len(world.attempts(job)) == 2)
    world.reaches(job, 6)
    for way in world["trainer-1"].ways:
        way.heal()
    assert world.finish(job) == ["succeeded"]
    assert outcomes(world, job) == ["lost", "done"]
    checker.check()


@pytest.fixture
def clock(tmp_path: Path) -> dict[str, str]:
    """What makes a process see another time of day: two hours ahead, until `set_clock`."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler to build the wrong clock with")
    library = tmp_path / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library)}


def set_clock(path: Path, hours: float) -> None:
    path.write_bytes(int(hours * 3600).to_bytes(8, "little", signed=True))


def test_f37_clocks_are_hours_apart_and_jump(
    world: World, checker: Checker, clock: dict[str, str], tmp_path: Path
) -> None:
    file = world.home / "nothing"
    for name, hours in (("io-1", -2), ("trainer-1", 2), ("api-1", -2)):
        file = tmp_path / f"{name}.clock"
        set_clock(file, hours)
        world.start(name, environment={**clock, "CLOCK_FILE": str(file)})
    job = world.create(world.upload(pace=0.3), passes=5)
    world.reaches(job, 4)
    set_clock(tmp_path / "trainer-1.clock", -2)
    set_clock(tmp_path / "io-1.clock", 2)
    assert world.finish(job) == ["succeeded"]
    assert outcomes(world, job) == ["done"]
    moments = "SELECT created_at FROM job_events WHERE job_id = :id ORDER BY seq"
    told = [row.created_at for row in world.rows(moments, id=job)]
    assert told == sorted(told)
    assert world.value("SELECT max(created_at) <= clock_timestamp() FROM job_events")
    assert '"timestamp": "' in world["io-1"].log
    checker.check()


@pytest.mark.fault_smoke
def test_f38_a_job_that_always_crashes_fails_and_no_other(world: World, checker: Checker) -> None:
    world.start("api-1", "trainer-1", "io-1", lease_seconds=60)
    poison = world.create(world.upload(segfault=2))
    good = world.upload(pace=0)
    jobs = [world.create(good) for _ in range(2)]
    assert world.finish(poison, *jobs) == ["failed", "succeeded", "succeeded"]
    assert outcomes(world, poison) == ["crashed", "crashed", "failed"]
    error = world.rows("SELECT error_code, error_message FROM jobs WHERE id = :id", id=poison)[0]
    assert error.error_code == "worker_crashed_repeatedly"
    assert "SIGSEGV" in error.error_message
    checker.check()


def test_f39_memory_runs_out_and_the_trainer_lives(world: World, checker: Checker) -> None:
    """The kernel kills training, then it dies of a MemoryError; both times another goes on."""
    world.start("api-1", "trainer-1", "io-1")
    job = world.create(world.upload(pace=0.3))
    world.reaches(job, 2)
    os.kill(world["trainer-1"].trainings()[0].pid, signal.SIGKILL)
    other = world.create(world.upload(exit=[3, 1]))
    assert world.finish(job, other) == ["succeeded", "succeeded"]
    assert outcomes(world, job) == outcomes(world, other) == ["crashed", "done"]
    workers = world.rows("SELECT DISTINCT worker FROM job_attempts")
    assert len(workers) == 1, "the trainer did not survive"
    checker.check()


@pytest.mark.parametrize("step", [1, 20])
def test_f40_the_accelerators_memory_runs_out(world: World, checker: Checker, step: int) -> None:
    """At the first step, and later on a longer batch. Two rows fit at once, the batch has 8."""
    world.start("api-1", "trainer-1", "io-1")
    job = world.create(world.upload(rows=16, fits=2, fits_at=step, pace=0), batch=8, passes=12)
    assert world.finish(job) == ["succeeded"]
    assert world.value("SELECT micro_batch_size FROM jobs WHERE id = :id", id=job) == 2
    assert outcomes(world, job) == ["crashed", "crashed", "done"]
    assert world.value("SELECT no_progress_attempts FROM jobs WHERE id = :id", id=job) == 0
    checker.check()


def test_f41_training_hangs(world: World, checker: Checker) -> None:
    """10 minutes without a step become 3 s."""
    world.start("api-1", "io-1")
    world.start("trainer-1", training_stall_timeout_seconds=3)
    job = world.create(world.upload(hang=5))
    assert world.finish(job) == ["succeeded"]
    assert outcomes(world, job) == ["crashed", "done"]
    assert world.value("SELECT count(*) FROM job_events WHERE message LIKE '%no progress%'") == 1
    stacks = [path.read_text() for path in world["trainer-1"].settings.home.rglob("*.log")]
    assert any("_sleep_for_ever" in text for text in stacks), "nobody can see where it hung"
    checker.check()


@pytest.mark.timeout(900)
def test_f42_a_thousand_times_an_owner_interferes_at_any_moment(
    world: World, checker: Checker
) -> None:
    """A hundred jobs; the owner of each acts ten times, by dice that are seeded with its number.

    What they meet, nobody seeds: an action may come before the validation, within a checkpoint or
    after the end.
    """
    world.start("api-1", "trainer-1", "io-1", trainer_concurrency=4)

    def own(seed: int) -> str:
        dice = random.Random(seed)
        file = world.upload(pace=0.05)
        job = world.create(file, passes=2)
        for _ in range(10):
            time.sleep(dice.uniform(0, 0.6))
            interfere(world, job, file, dice.choices(VERBS, WEIGHTS)[0])
        while world.state(job) not in TERMINAL:
            world.act("resume", job)
            world.hurry()
            time.sleep(0.5)
        return job

    with ThreadPoolExecutor(8) as owners:
        jobs = list(owners.map(own, range(100)))
    ends = Counter(world.state(job) for job in jobs)
    assert ends.keys() <= {"succeeded", "cancelled"}
    # The dice must not have it that nearly all are cancelled, or nearly none.
    assert min(ends.values()) >= 10, ends
    checker.check()


VERBS = ("pause", "resume", "cancel", "delete")
WEIGHTS = (12, 16, 1, 2)


def interfere(world: World, job: str, file: str, verb: str) -> None:
    if verb == "delete":
        answer = world.request("DELETE", f"/v1/files/{file}")
    else:
        answer = world.act(verb, job)
    # 409 and 404: the file is in use, or gone already.
    assert answer.status_code in (200, 400, 404, 409), f"{verb}: {answer.text}"


def test_f42_a_cancelled_job_frees_the_machine(
    world: World, checker: Checker, figures: Figures
) -> None:
    """With the heartbeat of production, which is what a cancellation waits for."""
    world.start("api-1", "io-1")
    world.start("trainer-1", heartbeat_interval_seconds=10, lease_seconds=60, trainer_concurrency=3)
    file = world.upload(pace=0.2)
    for _ in range(CANCELS // 3):
        jobs = [world.create(file, passes=50) for _ in range(3)]
        for job in jobs:
            world.until("it trains", partial(trains, world, job))
        for job in jobs:
            world.act("cancel", job)
            gone = world.until("the slot is free", lambda job=job: not trains(world, job))
            figures.add("from cancel to a free machine", gone, at_most=15)
    checker.check()


def trains(world: World, job: str) -> bool:
    lines = [process.cmdline() for process in world["trainer-1"].trainings()]
    return any(f"/runs/{job}-e" in word for line in lines for word in line)


def test_f43_everything_is_replaced_while_jobs_run(world: World, checker: Checker) -> None:
    """The schema grows under load, then each process of the old version makes way for a new one."""
    world.start("api-1", "trainer-1", "io-1", trainer_concurrency=2)
    file = world.upload(pace=0.2)
    jobs = [world.create(file, passes=6) for _ in range(3)]
    world.reaches(jobs[0], 2)
    world.rows("ALTER TABLE jobs ADD COLUMN of_the_next_version text")
    world.rows("CREATE INDEX CONCURRENTLY ON jobs (of_the_next_version)")
    with ThreadPoolExecutor(1) as clients:
        asking = clients.submit(keep_asking, world, jobs[0])
        for kind in ("io", "trainer", "api"):
            world.start(f"{kind}-2", trainer_concurrency=2)
            world[f"{kind}-1"].terminate()
            # uvicorn ends by the signal that asked for it, once all is answered.
            assert world[f"{kind}-1"].end() in (0, -signal.SIGTERM)
        jobs.append(create_at(world, "api-2", file))
        assert set(world.finish(*jobs, seconds=120)) == {"succeeded"}
        world["api-2"].terminate()
        world["api-2"].end()
        assert asking.result(30) <= {200, 503}
    assert "lost" not in {outcome for job in jobs for outcome in outcomes(world, job)}
    checker.check()


def create_at(world: World, api: str, file: str) -> str:
    answer = world.request("POST", "/v1/fine_tuning/jobs", api=api, json=asked(file))
    assert answer.status_code == 200, answer.text
    job: str = answer.json()["id"]
    world.accept(job)
    return job


def keep_asking(world: World, job: str) -> set[int]:
    """The statuses seen by a client that goes to the other API when one takes no connections."""
    seen = set()
    while world["api-1"].process.poll() is None or world["api-2"].process.poll() is None:
        for name in ("api-1", "api-2"):
            try:
                path = f"/v1/fine_tuning/jobs/{job}"
                seen.add(world.once("GET", path, api=name).status_code)
            except (httpx.ConnectError, KeyError):
                # Not there, or not any more; but whoever was connected gets an answer.
                time.sleep(0.05)
    return seen
