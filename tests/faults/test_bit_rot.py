"""Bits flip in stored objects: no wrong result, a clear state, and recovery after the repair."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.faults.checker import InvariantChecker
from tests.faults.scenario import Scenario


@contextmanager
def rotten(scenario: Scenario, suffix: str) -> Iterator[None]:
    """Flip a bit in the middle of each object whose key ends so; repair them at the end."""
    client, bucket = scenario.services.objects.client(), scenario.name
    keys = [key for key in scenario.list_keys() if key.endswith(suffix)]
    assert keys, f"no object ends with {suffix}"
    good = {key: scenario.read_object(key) for key in keys}
    for key, data in good.items():
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        client.put_object(Bucket=bucket, Key=key, Body=flipped)
    try:
        yield
    finally:
        for key, data in good.items():
            client.put_object(Bucket=bucket, Key=key, Body=data)


def has_attempts(scenario: Scenario, job: str, count: int) -> Callable[[], bool]:
    return lambda: len(scenario.attempts(job)) >= count


def get_job(scenario: Scenario, job: str) -> dict[str, Any]:
    response = scenario.request("GET", f"/v1/fine_tuning/jobs/{job}")
    result: dict[str, Any] = response.json()
    return result


def test_f48_a_training_file_rots(scenario: Scenario, checker: InvariantChecker) -> None:
    scenario.start("api-1", "trainer-1", "io-1")
    file = scenario.upload_file()
    with rotten(scenario, file):
        damaged = scenario.create_job(file)
        assert scenario.wait_for_jobs(damaged) == ["failed"], "it trained on damaged data"
        error = get_job(scenario, damaged)["error"]
        assert error["code"]
        assert "checksum" in error["message"]
    assert scenario.wait_for_jobs(scenario.create_job(file)) == ["succeeded"]


def test_f48_the_newest_checkpoint_rots(scenario: Scenario, checker: InvariantChecker) -> None:
    """The job goes on from the one before, and ends as if nothing had happened."""
    scenario.start("api-1", "trainer-1", "io-1")
    job = scenario.create_job(scenario.upload_file(step_seconds=0.3))
    count = "SELECT count(*) FROM checkpoints WHERE job_id = :id"
    scenario.wait_until(
        "two checkpoints are recorded", lambda: scenario.query_value(count, id=job) == 2, seconds=90
    )
    scenario["trainer-1"].kill()
    with rotten(scenario, "step-6/adapter_model.safetensors"):
        scenario.start("trainer-2")
        assert scenario.wait_for_jobs(job) == ["succeeded"]
        checker.check()


def test_f48_the_model_that_a_job_starts_from_rots(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    scenario.start("api-1", "trainer-1", "io-1")
    file = scenario.upload_file()
    first = scenario.create_job(file)
    assert scenario.wait_for_jobs(first) == ["succeeded"]
    model = get_job(scenario, first)["fine_tuned_model"]
    with rotten(scenario, "adapter_model.safetensors"):
        damaged = scenario.create_job(file, model=model)
        assert scenario.wait_for_jobs(damaged) == ["failed"]
        assert "damaged in storage" in get_job(scenario, damaged)["error"]["message"]
    assert scenario.wait_for_jobs(scenario.create_job(file, model=model)) == ["succeeded"]
