"""Something is killed or frozen, at the worst moments that could be thought of.

A lease of 6 s, a heartbeat of 0.5 s and a poll of 1 s stand for 60 s, 10 s and 2 s, where a test
does not say otherwise.
"""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.faults.checker import Checker
from tests.faults.measurements import Figures
from tests.faults.scenario import LEASE_SECONDS, World, alive, asked, training_file


def kill_training(world: World, trainer: str) -> None:
    """Only the training process; its supervisor sees it."""
    processes = world[trainer].trainings()
    assert processes, "no training runs"
    os.kill(processes[0].pid, signal.SIGKILL)


def outcomes(world: World, job: str) -> list[str]:
    return [outcome for _, outcome in world.attempts(job)]


def test_f01_training_is_killed_before_its_first_step(world: World, checker: Checker) -> None:
    world.start("api-1", "trainer-1", "io-1")
    job = world.create(world.upload(pace=0.3))
    world.until("training runs", world["trainer-1"].trainings)
    kill_training(world, "trainer-1")
    assert world.finish(job) == ["succeeded"]
    assert outcomes(world, job) == ["crashed", "done"]
    checker.check()


def test_f02_training_is_killed_in_the_middle_of_a_pass(world: World, checker: Checker) -> None:
    world.start("api-1", "trainer-1", "io-1")
    job = world.create(world.upload(pace=0.4, then=0), passes=20)
    world.reaches(job, 5)
    kill_training(world, "trainer-1")
    assert world.finish(job) == ["succeeded"]
    assert outcomes(world, job) == ["crashed", "done"]
    checker.check()


def test_f03_training_is_killed_while_it_writes_a_checkpoint(
    world: World, checker: Checker
) -> None:
    world.start("api-1", "trainer-1", "io-1")
    job = world.create(world.upload(linger=1))

    def writes_the_second() -> bool:
        folder = world["trainer-1"].run_folder(job)
        return folder is not None and (folder / "checkpoints" / ".step-6.partial").exists()

    world.until("the second checkpoint is being written", writes_the_second)
    kill_training(world, "trainer-1")
    assert world.finish(job) == ["succeeded"]
    assert outcomes(world, job) == ["crashed", "done"]
    checker.check()


def dies_at(world: World, checker: Checker, pattern: str, held: str) -> None:
    """The trainer is killed while a request of its hangs; its successor has to find its way."""
    world.start("api-1", "trainer-1", "io-1")
    file = world.upload()
    fault = world.fault("PUT", pattern, held=held)
    job = world.create(file)
    fault.wait()
    world["trainer-1"].kill()
    # What it had sent arrives nevertheless, late.
    fault.release()
    world.start("trainer-2")
    assert world.finish(job) == ["succeeded"]
    assert outcomes(world, job) == ["lost", "done"]
    checker.check()


def test_f04_trainer_is_killed_between_upload_and_manifest(world: World, checker: Checker) -> None:
    dies_at(world, checker, "*/step-6/manifest.json", "before")


def test_f05_trainer_is_killed_between_manifest_and_row(world: World, checker: Checker) -> None:
    dies_at(world, checker, "*/step-6/manifest.json", "after")


def test_f06_trainer_is_killed_while_it_finalizes(world: World, checker: Checker) -> None:
    dies_at(world, checker, "*/files/*", "before")


@pytest.mark.fault_smoke
def test_f07_trainer_is_killed_and_another_resumes(
    world: World, checker: Checker, figures: Figures
) -> None:
    world.start("api-1", "trainer-1", "io-1")
    job = world.create(world.upload(pace=0.3, then=0), passes=20)
    world.reaches(job, 4)
    training = world["trainer-1"].trainings()
    world["trainer-1"].kill()
    world.until("the kernel has ended its training", lambda: not any(map(alive, training)))
    # Its own lease is not scaled: a machine that stands still for seconds must not end it.
    world.start("trainer-2", lease_seconds=60)
    seconds = world.until("another has it", lambda: len(world.attempts(job)) == 2)
    how = f"lease {LEASE_SECONDS:g} s instead of 60 s"
    figures.add("recovery after kill -9 of a trainer, scaled", seconds, at_most=30, how=how)
    assert world.finish(job) == ["succeeded"]
    assert outcomes(world, job) == ["lost", "done"]
    checker.check()


def test_f07_recovery_with_the_times_of_production(
    world: World, checker: Checker, figures: Figures
) -> None:
    """Lease 60 s, heartbeat 10 s, poll 5 s; the training itself is as small as ever."""
    real = {"lease_seconds": 60, "heartbeat_interval_seconds": 10, "poll_interval_seconds": 2}
    world.start("api-1", "trainer-1", "io-1", **real)
    job = world.create(world.upload(pace=0.5, then=0), passes=20)
    world.reaches(job, 4)
    world["trainer-1"].kill()
    world.start("trainer-2", **real)
    seconds = world.until("another has it", lambda: len(world.attempts(job)) == 2, seconds=90)
    how = "lease 60 s, heartbeat 10 s"
    figures.add("recovery after kill -9 of a trainer", seconds, at_most=75, how=how)
    assert world.finish(job) == ["succeeded"]
    checker.check()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_f08_api_is_killed_around_the_commit_of_a_new_job(
    world: World, checker: Checker, moment: str
) -> None:
    world.start("api-1", "trainer-1", "io-1")
    file = world.upload()
    way = world["api-1"].database
    commit, answer = b"COMMIT\0", b"COMMIT\0" if moment == "after" else None
    trap = way.trap(commit, answer, after=b"INSERT INTO jobs")
    body = asked(file)
    with pytest.raises(httpx.TransportError), dying(world, "api-1", trap.wait):
        world.once(
            "POST", "/v1/fine_tuning/jobs", json=body, headers={"x-stainless-retry-count": "0"}
        )
    trap.spring()
    world["api-1"].start()
    again = {"x-stainless-retry-count": "1"}
    world.until("the api is back", world["api-1"].is_ready)
    answered = world.once("POST", "/v1/fine_tuning/jobs", json=body, headers=again)
    assert answered.status_code == 200, answered.text
    world.accept(answered.json()["id"])
    assert world.value("SELECT count(*) FROM jobs") == 1
    assert world.finish(answered.json()["id"]) == ["succeeded"]
    checker.check()


@contextlib.contextmanager
def dying(world: World, name: str, reached: Callable[[], None]) -> Iterator[None]:
    """Kill a process as soon as `reached()` returns, while the block waits for its answer."""

    def wait_and_kill() -> None:
        reached()
        world[name].kill()

    thread = threading.Thread(target=wait_and_kill)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_f09_api_is_killed_in_the_middle_of_an_upload(world: World, checker: Checker) -> None:
    world.start("api-1", "trainer-1", "io-1")
    # More than one part of a multipart upload, so that the store knows of it.
    data = training_file(12, {}) * 20_000
    head, tail = form(data)
    with socket.create_connection(("127.0.0.1", world["api-1"].settings.port)) as client:
        client.sendall(request_head(world, len(head) + len(data) + len(tail)) + head)
        client.sendall(data[: len(data) * 3 // 4])
        world.until("the store has a part of it", lambda: list(checker.uploads()))
        world["api-1"].kill()
    assert world.value("SELECT count(*) FROM files") == 0
    world["api-1"].start()
    job = world.create(world.upload())
    assert world.finish(job) == ["succeeded"]
    checker.check()


def form(data: bytes) -> tuple[bytes, bytes]:
    """What stands around a file in a multipart form."""
    head = (
        b'--cut\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
        b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
    )
    return head, b"\r\n--cut--\r\n"


def request_head(world: World, length: int) -> bytes:
    lines = [
        "POST /v1/files HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {world.secret}",
        "Content-Type: multipart/form-data; boundary=cut",
        f"Content-Length: {length}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def test_f10_relay_is_killed_between_ringing_and_remembering(
    world: World, checker: Checker
) -> None:
    world.start("api-1", "trainer-1", "io-1")
    file = world.upload()
    trap = world["io-1"].database.trap(b"UPDATE outbox SET done_at")
    job = world.create(file)
    trap.wait()
    world["io-1"].kill()
    trap.spring()
    world.start("io-2")
    assert world.finish(job) == ["succeeded"]
    assert outcomes(world, job) == ["done"]
    checker.check()


def test_f11_leader_is_killed_while_it_leads(
    world: World, checker: Checker, figures: Figures
) -> None:
    world.start("api-1", "trainer-1", "io-1")
    job = world.create(world.upload(pace=0.3, then=0), passes=20)
    world.reaches(job, 4)
    with world.locked("job_leases"):
        world["trainer-1"].kill()
        world.until("the leader is at it", lambda: waits_for_lock(world, "io-1"))
        world["io-1"].kill()
    world.start("io-2", "trainer-2")
    seconds = world.until("the new leader acts", lambda: len(world.attempts(job)) == 2)
    figures.add("a new leader acts after kill -9 of the old one", seconds, at_most=30)
    assert world.finish(job) == ["succeeded"]
    checker.check()


def waits_for_lock(world: World, name: str) -> bool:
    """Whether a process is in the middle of a transaction that cannot go on."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = :name"
        " AND wait_event_type = 'Lock'"
    )
    return bool(world.value(waiting, name=name))


@pytest.mark.fault_smoke
def test_f12_a_trainer_freezes_and_wakes_up_after_its_job_went_to_another(
    world: World, checker: Checker
) -> None:
    """3 minutes with a lease of 60 s become the end of a lease of 6 s and some steps by another."""
    world.start("api-1", "trainer-1", "io-1")
    job = world.create(world.upload(pace=0.3, then=0.05), passes=20)
    world.reaches(job, 4)
    world["trainer-1"].freeze()
    zombie = world["trainer-1"].trainings()
    world.start("trainer-2", lease_seconds=60)
    world.until("another has it", lambda: len(world.attempts(job)) == 2)
    world.reaches(job, 8)
    world["trainer-1"].thaw()
    world.until("the zombie's training has ended", lambda: not any(map(alive, zombie)))
    assert world.finish(job) == ["succeeded"]
    assert outcomes(world, job) == ["lost", "done"]
    checker.check()


def test_f13_a_trainer_dies_with_the_bell_that_it_was_handed(
    world: World, checker: Checker, figures: Figures
) -> None:
    """The other trainer's way to the broker is cut: it can only find the job by looking."""
    world.start("api-1", "trainer-1", "io-1", "trainer-2", poll_interval_seconds=2)
    file = world.upload()
    world.until("both look for work", lambda: polls(world) >= 2)
    world["trainer-2"].broker.refuse()
    world["trainer-1"].freeze()
    job = world.create(file)
    world["trainer-1"].kill()
    world.until("it is queued", lambda: world.state(job) != "validating_files")
    seconds = world.until("it runs", lambda: world.state(job) != "queued")
    figures.add("a job whose bell was lost starts after", seconds, at_most=6)
    assert world.finish(job) == ["succeeded"]
    checker.check()


def polls(world: World) -> int:
    return sum(" ready." in world[name].log for name in ("trainer-1", "trainer-2"))
