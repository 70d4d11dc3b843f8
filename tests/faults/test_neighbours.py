"""A project's jobs share the trainers with those of another project, however long they train."""

import time

import pytest

from app.db.session import create_database_engine, session_maker, transaction
from app.organization import api_keys
from tests.factories import make_project
from tests.faults.checker import InvariantChecker
from tests.faults.scenario import Scenario, job_body, training_file

# Scaled: 15 minutes become 3 seconds.
SLICE_SECONDS = 3


def add_project_key(scenario: Scenario) -> dict[str, str]:
    """Create another project with a key; returns the header that carries it."""
    engine = create_database_engine(scenario.url, pool_size=1)
    with transaction(session_maker(engine)) as session:
        _, secret = api_keys.create(session, make_project(session).id, "neighbour")
    engine.dispose()
    return {"Authorization": f"Bearer {secret}"}


def create_job(scenario: Scenario, headers: dict[str, str], *, epochs: int = 3) -> str:
    """Upload a file and create a job with another project's key; returns the job's id."""
    data = training_file(12, {"step_seconds": 0.05})
    uploaded = scenario.request(
        "POST",
        "/v1/files",
        files={"file": ("train.jsonl", data)},
        data={"purpose": "fine-tune"},
        headers=headers,
    )
    body = job_body(uploaded.json()["id"], epochs=epochs)
    created = scenario.request("POST", "/v1/fine_tuning/jobs", json=body, headers=headers)
    assert created.status_code == 200, created.text
    scenario.files[uploaded.json()["id"]] = data
    scenario.record_job(created.json()["id"])
    return str(created.json()["id"])


def measure_start_of_neighbour(scenario: Scenario, *, attackers: int) -> float:
    """Seconds from a neighbour's request to its job's first step beside jobs that train for long.

    Load function of the pool "trainers": one trainer; `attackers` jobs of one project, 0 for a
    quiet service.
    """
    file_id = scenario.upload_file(step_seconds=0.3) if attackers else ""
    jobs = [scenario.create_job(file_id, epochs=50) for _ in range(attackers)]
    if jobs:
        scenario.wait_for_step(jobs[0], 1)
    began = time.monotonic()
    scenario.wait_for_step(create_job(scenario, add_project_key(scenario)), 1)
    return time.monotonic() - began


@pytest.mark.attack
def test_a58_a_neighbours_job_starts_within_a_time_slice(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    scenario.start("api-1", "trainer-1", "io-1", trainer_time_slice_seconds=SLICE_SECONDS)
    file_id = scenario.upload_file(step_seconds=0.3, later_step_seconds=0.1)
    long = [scenario.create_job(file_id, epochs=20) for _ in range(3)]
    scenario.wait_for_step(long[0], 2)
    neighbour = create_job(scenario, add_project_key(scenario))
    assert scenario.wait_for_jobs(neighbour) == ["succeeded"]
    # It did not have to wait for the end of any of the three.
    assert all(scenario.job_state(job) in ("queued", "running") for job in long)
    first = scenario.attempts(long[0])[0]
    assert first[1] == "yielded"
    messages = scenario.query("SELECT message FROM job_events WHERE job_id = :id", id=long[0])
    assert any("used its time slice" in row.message for row in messages)
    assert scenario.wait_for_jobs(*long) == ["succeeded"] * 3
    # The job that yielded has the same bits as one that was never interrupted.
    checker.check()


@pytest.mark.attack
def test_a58_a_job_at_its_time_limit_keeps_its_last_checkpoint(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    scenario.start("api-1", "trainer-1", "io-1", max_job_hours=4 / 3600)
    job = scenario.create_job(scenario.upload_file(rows=40, step_seconds=0.3), epochs=50)
    assert scenario.wait_for_jobs(job) == ["failed"]
    answer = scenario.request("GET", f"/v1/fine_tuning/jobs/{job}").json()
    assert answer["error"]["code"] == "time_limit_exceeded"
    listed = scenario.request("GET", f"/v1/fine_tuning/jobs/{job}/checkpoints").json()["data"]
    newest = listed[0]["fine_tuned_model_checkpoint"]
    assert newest in answer["error"]["message"]
    assert scenario.request("GET", f"/v1/models/{newest}").status_code == 200
    following = {**job_body(answer["training_file"], epochs=1), "model": newest}
    created = scenario.request("POST", "/v1/fine_tuning/jobs", json=following)
    assert created.status_code == 200, created.text
