"""The broker loses and repeats messages, is slow, full or away: nothing but time is lost.

A poll of 1 s stands for 2 s, and seconds of outage for minutes.
"""

import time
from collections.abc import Callable

import pytest
import redis

from app.broker import TaskNotifier
from app.settings import Settings
from tests.faults.checker import Checker
from tests.faults.measurements import Figures
from tests.faults.scenario import World


def broker(world: World) -> "redis.Redis[bytes]":
    return redis.Redis(unix_socket_path=world.ground.valkey_socket)


def test_f14_the_broker_forgets_all_of_fifty_bells(world: World, checker: Checker) -> None:
    world.start("api-1", "io-1")
    file = world.upload(pace=0)
    jobs = [world.create(file, passes=1, batch=12) for _ in range(50)]
    queued = "SELECT count(*) FROM jobs WHERE state = 'queued'"
    world.until("all are queued", lambda: world.value(queued) == len(jobs))
    with broker(world) as client:
        client.flushall()
    world.start("trainer-1", trainer_concurrency=4)
    assert set(world.finish(*jobs, seconds=200)) == {"succeeded"}
    checker.check()


def test_f15_the_broker_is_killed_three_times(world: World, checker: Checker) -> None:
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
def test_f16_without_a_broker_all_requests_and_jobs_work(world: World, checker: Checker) -> None:
    """10 minutes become the time of two jobs."""
    world.start("api-1", "trainer-1", "io-1")
    file = world.upload(pace=0)
    world.ground.valkey.kill()
    try:
        for _ in range(2):
            job = world.create(file)
            assert world.finish(job) == ["succeeded"]
            assert world.once("GET", f"/v1/fine_tuning/jobs/{job}").status_code == 200
    finally:
        world.ground.valkey.restart()
    assert {status for _, _, status in world.history.answers} == {200}
    checker.check()


def test_f16_what_the_broker_saves_is_seconds(
    world: World, checker: Checker, figures: Figures
) -> None:
    """With the poll of production; what the machine itself takes is measured with the broker."""
    world.start("api-1", "trainer-1", "io-1", poll_interval_seconds=Settings().poll_interval_seconds)
    file = world.upload(pace=0)
    assert world.finish(world.create(file)) == ["succeeded"]
    usual = sorted(seconds_to_claim(world, file) for _ in range(3))[1]
    world.ground.valkey.kill()
    try:
        for _ in range(8):
            added = seconds_to_claim(world, file) - usual
            figures.add("added without a broker, from POST to a trainer", added, at_most=6)
    finally:
        world.ground.valkey.restart()
    assert {status for _, _, status in world.history.answers} == {200}
    checker.check()


def seconds_to_claim(world: World, file: str) -> float:
    """How long a new job takes until a trainer has it. Waits for its end, too."""
    began = time.monotonic()
    job = world.create(file)
    world.until("it is claimed", lambda: world.attempts(job))
    seconds = time.monotonic() - began
    assert world.finish(job) == ["succeeded"]
    return seconds


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
    # Some find the broker left alone since the last failure, some have to find out anew.
    for _ in range(10):
        jobs.append(world.create(file))
        time.sleep(0.5)
    seconds = world.history.seconds[taken:]
    figures.add(f"a POST with a {fault} broker", *seconds, at_most=6)
    assert {status for _, _, status in world.history.answers} == {200}
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
    # A trainer takes a bell a second for each of its slots.
    world.start("api-1", "trainer-1", "io-1", trainer_concurrency=4)
    file = world.upload(pace=0.1)
    done, stopped, running = (world.create(file) for _ in range(3))
    world.act("cancel", stopped)
    assert world.finish(done) == ["succeeded"]
    before = world.rows("SELECT * FROM job_events WHERE job_id = :id ORDER BY seq", id=done)
    bells = TaskNotifier(f"redis://127.0.0.1:{world['api-1'].broker.port}/0")
    for number in range(25):
        for job in (done, stopped, running, "ftjob-unknown"):
            assert bells.notify(("train", "validate")[number % 2], job)
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
