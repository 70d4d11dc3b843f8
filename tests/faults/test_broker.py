"""The broker loses and repeats messages, is slow, full or away: nothing but time is lost.

A poll of 1 s stands for 5 s, and seconds of outage for minutes.
"""

from collections.abc import Callable

import pytest
import redis

from app.queue import Bells
from tests.faults.checker import Checker
from tests.faults.conftest import Figures
from tests.faults.world import World

BAR = "6"
HOW = "poll 1 s instead of 5 s"


def broker(world: World) -> "redis.Redis[bytes]":
    return redis.Redis(unix_socket_path=world.ground.valkey_socket)


def starts_within(world: World, job: str) -> float:
    """Seconds from now until a trainer has a job."""
    return world.until("it is claimed", lambda: world.attempts(job))


def test_f14_the_broker_forgets_all_of_fifty_bells(world: World, checker: Checker) -> None:
    world.start("api-1", "io-1")
    file = world.upload(pace=0)
    jobs = [world.create(file, passes=1, batch=12) for _ in range(50)]
    queued = "SELECT count(*) FROM jobs WHERE state = 'queued'"
    world.until("all are queued", lambda: world.value(queued) == len(jobs))
    with broker(world) as client:
        client.flushall()
    world.start("trainer-1", train_slots=4)
    assert set(world.finish(*jobs, seconds=200)) == {"succeeded"}
    checker.check()


def test_f15_the_broker_is_killed_three_times(
    world: World, checker: Checker, figures: Figures
) -> None:
    world.start("api-1", "trainer-1", "io-1")
    file = world.upload(pace=0.2)
    jobs = []
    for _ in range(3):
        jobs.append(world.create(file))
        world.until("it runs", lambda: world.attempts(jobs[-1]))
        world.ground.valkey.restart()
        assert world.finish(jobs[-1]) == ["succeeded"]
    assert [world.attempts(job) for job in jobs] == [[(1, "done")]] * 3
    checker.check()


@pytest.mark.fault_smoke
def test_f16_without_a_broker_all_requests_and_jobs_work(
    world: World, checker: Checker, figures: Figures
) -> None:
    """10 minutes become the time of four jobs."""
    world.start("api-1", "trainer-1", "io-1")
    file = world.upload(pace=0)
    world.until("work is looked for", lambda: " ready." in world["trainer-1"].log)
    world.ground.valkey.kill()
    try:
        for _ in range(4):
            job = world.create(file)
            world.until("it is queued", lambda job=job: world.state(job) != "validating_files")
            seconds = starts_within(world, job)
            figures.add("without a broker a queued job starts after, s", seconds, bar=BAR, how=HOW)
            assert world.finish(job) == ["succeeded"]
            assert world.once("GET", f"/v1/fine_tuning/jobs/{job}").status_code == 200
    finally:
        world.ground.valkey.restart()
    assert {status for _, _, status in world.history.answers} == {200}
    checker.check()


@pytest.mark.parametrize("fault", ["slow", "silent"])
def test_f17_a_broker_that_is_slow_or_silent_delays_no_request(
    world: World, checker: Checker, figures: Figures, fault: str
) -> None:
    """The broker takes 2 s for each message, or accepts connections and says nothing."""
    world.start("api-1", "trainer-1", "io-1")
    file = world.upload(pace=0)
    # A process's first request of a kind compiles and connects, which no fault is to blame for.
    jobs = [world.create(file)]
    for machine in world.machines.values():
        if fault == "slow":
            machine.broker.latency = 1.0
        else:
            machine.broker.black_hole()
    taken = len(world.history.seconds)
    jobs += [world.create(file) for _ in range(8)]
    seconds = sorted(world.history.seconds[taken:])
    figures.add(f"a POST with a {fault} broker, s", *seconds, bar="1")
    # The middle one: on a busy machine any single request may take long.
    assert seconds[len(seconds) // 2] < 1
    assert set(world.finish(*jobs, seconds=90)) == {"succeeded"}
    for machine in world.machines.values():
        machine.broker.heal()
    checker.check()


def test_f18_a_full_broker_refuses_bells(world: World, checker: Checker) -> None:
    world.start("api-1", "trainer-1", "io-1")
    file = world.upload(pace=0)
    with broker(world) as client:
        client.config_set("maxmemory", 1)
        try:
            jobs = [world.create(file) for _ in range(3)]
            assert set(world.finish(*jobs)) == {"succeeded"}
        finally:
            client.config_set("maxmemory", 0)
    assert {status for _, _, status in world.history.answers} == {200}
    checker.check()


def test_f19_a_hundred_bells_for_every_kind_of_job_change_nothing(
    world: World, checker: Checker
) -> None:
    world.start("api-1", "trainer-1", "io-1")
    file = world.upload(pace=0.1)
    done, stopped, running = (world.create(file) for _ in range(3))
    world.act("cancel", stopped)
    assert world.finish(done) == ["succeeded"]
    before = world.rows("SELECT * FROM job_events WHERE job_id = :id ORDER BY seq", id=done)
    bells = Bells(f"redis://127.0.0.1:{world['api-1'].broker.port}/0")
    # A hundred in all; a trainer with one slot takes one a second.
    for number in range(25):
        for job in (done, stopped, running, "ftjob-unknown"):
            assert bells.ring(("train", "validate")[number % 2], job)
    assert world.finish(running) == ["succeeded"]
    world.until("all bells were heard", heard(world), seconds=150)
    assert world.attempts(done) == world.attempts(running) == [(1, "done")]
    assert world.attempts(stopped) == []
    after = world.rows("SELECT * FROM job_events WHERE job_id = :id ORDER BY seq", id=done)
    assert after == before
    checker.check()


def heard(world: World) -> Callable[[], bool]:
    def none_waits() -> bool:
        with broker(world) as client:
            return not client.llen("luthier:io") and not client.llen("luthier:train")

    return none_waits
