"""Estimates of jobs: the checks of creation, resolved numbers, tokens, steps, time, memory."""

import json
from typing import Any

import httpx
import pytest
from openai import OpenAI
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.session import SessionMaker, transaction
from app.db.tables import Job, Project
from app.job_estimates import rates
from app.job_estimates.memory import estimate_memory
from app.training_data import rendering, statistics
from app.wire.training_rows import ModelFacts
from tests.app.job_estimates.conftest import estimate, supervised, values_of
from tests.app.jobs.test_routes import make_model
from tests.app.training_data.test_preview import chat, upload
from tests.factories import make_job
from tests.live_api import Account, Api
from tests.live_server import FakeEngine


def count_jobs(sessions: SessionMaker) -> int:
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(Job)) or 0


def test_auto_is_resolved_as_training_does(
    http: httpx.Client, training_file: str, sessions: SessionMaker
) -> None:
    body = estimate(http, training_file=training_file)
    training = body["training"]
    assert (body["model"], body["method"], body["problem"]) == ("base", "supervised", None)
    values = values_of(training)
    assert values["n_epochs"] == (3, "auto")
    assert values["batch_size"] == (3, "auto")
    assert values["lora_rank"] == (16, "auto")
    assert values["learning_rate"][0] == pytest.approx(5e-4 * (2000 / 576) ** 0.781)
    assert (training["rows"], training["tokens_per_epoch"]) == (40, 280)
    assert (training["trained_tokens"], training["steps"]) == (840, 3 * 14)
    assert all(each["reason"] for each in training["hyperparameters"] if each["name"] == "n_epochs")
    assert count_jobs(sessions) == 0


def test_given_values_are_kept(http: httpx.Client, training_file: str, engine: FakeEngine) -> None:
    method = supervised(n_epochs=2, batch_size=10, max_seq_length=64, long_rows="drop")
    training = estimate(http, training_file=training_file, method=method)["training"]
    values = values_of(training)
    assert values["n_epochs"] == (2, "request")
    assert (training["steps"], training["trained_tokens"]) == (8, 560)
    (sent,) = {(body["max_tokens"], body["long_rows"]) for body in engine.bodies}
    assert sent == (64, "drop")


def test_without_jobs_the_time_is_derived_from_the_machine(
    http: httpx.Client, training_file: str
) -> None:
    training = estimate(http, training_file=training_file)["training"]
    rate = training["rate"]
    assert (rate["source"], rate["jobs"]) == ("machine", 0)
    expected = rate["overhead_seconds"] + 840 / rate["tokens_per_second"]
    assert training["seconds"] == pytest.approx(expected, abs=0.1)
    assert training["peak_memory_bytes"] > 2 * 10**8


@pytest.mark.parametrize(
    "change",
    [
        {"model": "unknown"},
        {"training_file": "file-missing"},
        {"method": {"type": "classification"}},
        {"method": supervised(max_seq_length=9000)},
        {"method": supervised(n_epochs=0)},
        {"method": supervised(keep="best")},
        {"suffix": "n" * 65},
        {"validation_file": "file-missing"},
    ],
)
def test_errors_are_those_of_creation(
    http: httpx.Client, training_file: str, change: dict[str, Any], engine: FakeEngine
) -> None:
    body = {"model": "base", "training_file": training_file, **change}
    estimated = http.post("/v1/fine_tuning/jobs/estimate", json=body)
    created = http.post("/v1/fine_tuning/jobs", json=body)
    assert estimated.status_code == created.status_code == 400
    assert estimated.json() == created.json()
    assert engine.bodies == []


def test_a_file_whose_first_row_is_larger_than_a_sample_is_estimated(
    http: httpx.Client, openai: OpenAI, engine: FakeEngine
) -> None:
    # Of 2.2 MB: the text is in both messages.
    rows = [chat("n" * 1_100_000), *(chat(str(number)) for number in range(9))]
    training = estimate(http, training_file=upload(openai, rows))["training"]
    assert training["measured_examples"] >= 1
    assert (training["rows"], training["tokens_per_epoch"]) == (10, 70)


def test_a_file_without_examples_in_the_part_that_is_read_is_an_error(
    http: httpx.Client, openai: OpenAI, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "MAX_READ_BYTES", 1)
    lines = [json.dumps(chat(str(number))) for number in range(10)]
    file_id = upload(openai, "\n" * 2**20 + "\n".join(lines))
    body = {"model": "base", "training_file": file_id}
    response = http.post("/v1/fine_tuning/jobs/estimate", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "training_file")


def test_the_queue_and_the_quotas_of_the_project_are_told(
    http: httpx.Client, training_file: str, sessions: SessionMaker, account: Account, api: Api
) -> None:
    assert estimate(http, training_file=training_file)["queue"] == {
        "queued_jobs": 0,
        "max_queued_jobs": api.state.settings.max_queued_jobs_per_project or None,
        "running_jobs": 0,
        "max_running_jobs": api.state.settings.max_running_jobs_per_project or None,
        "has_room": True,
        "is_next_in_project": True,
    }
    with transaction(sessions) as session:
        project = session.get_one(Project, account.principal.project_id)
        project.max_queued_jobs = 1
        make_job(session, project, state="queued", base_model="base")
    queue = estimate(http, training_file=training_file)["queue"]
    assert (queue["queued_jobs"], queue["max_queued_jobs"]) == (1, 1)
    assert (queue["has_room"], queue["is_next_in_project"]) == (False, False)


def test_an_engine_that_is_down_is_a_503(
    http: httpx.Client, training_file: str, engine: FakeEngine
) -> None:
    engine.healthy = False
    body = {"model": "base", "training_file": training_file}
    assert http.post("/v1/fine_tuning/jobs/estimate", json=body).status_code == 503


def test_an_engine_that_does_not_answer_is_a_503(
    http: httpx.Client, openai: OpenAI, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "RESPONSE_TIMEOUT_SECONDS", 0.5)
    rows = [chat("no answer"), *(chat(str(number)) for number in range(11))]
    body = {"model": "base", "training_file": upload(openai, rows)}
    response = http.post("/v1/fine_tuning/jobs/estimate", json=body)
    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (503, "server_error")
    assert "did not render rows of the file within 0.5 s" in error["message"]
    assert engine.aborted.wait(30), "the request to the engine goes on"


def test_another_projects_file_is_unknown(training_file: str, other_tenant: httpx.Client) -> None:
    body = {"model": "base", "training_file": training_file}
    response = other_tenant.post("/v1/fine_tuning/jobs/estimate", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "training_file")


def test_a_job_that_continues_takes_over_the_models_settings(
    http: httpx.Client, training_file: str, session: Session, account: Account
) -> None:
    project = session.get_one(Project, account.principal.project_id)
    before = {"lora_rank": 8, "lora_alpha": 16, "target_modules": "all-linear"}
    job = make_job(session, project, base_model="base", resolved_hyperparameters=before)
    make_model(session, job, "ft:base:acme::Abcd1234")
    body = estimate(http, training_file=training_file, model="ft:base:acme::Abcd1234")
    values = {each["name"]: each for each in body["training"]["hyperparameters"]}
    for name, value in before.items():
        assert (values[name]["value"], values[name]["source"]) == (value, "auto")
        assert values[name]["reason"] == "that of the model to continue from"


def test_packed_examples_are_trained_as_often_as_others(
    http: httpx.Client, training_file: str
) -> None:
    """All 40 chats of 7 tokens fit into one sequence of 8,192, which a batch counts."""
    method = supervised(packing=True)
    training = estimate(http, training_file=training_file, method=method)["training"]
    assert (training["rows"], training["tokens_per_epoch"]) == (1, 280)
    values = values_of(training)
    assert (values["n_epochs"], values["batch_size"]) == ((3, "auto"), (1, "auto"))
    reasons = {each["name"]: each["reason"] for each in training["hyperparameters"]}
    assert (reasons["n_epochs"][-9:], reasons["batch_size"][-8:]) == ("(40 rows)", "(1 rows)")
    assert (training["steps"], training["trained_tokens"]) == (3, 3 * 280)


def test_a_rate_far_below_a_token_a_second(
    http: httpx.Client, training_file: str, engine: FakeEngine
) -> None:
    weights = {"num_parameters": 70 * 10**9, "layer_parameters": 70 * 10**9}
    engine.facts = {**engine.facts, **weights, "gigaflops": 30.0}
    method = supervised(gradient_checkpointing=True)
    training = estimate(http, training_file=training_file, method=method)["training"]
    speed = rates.UTILIZATION * 30e9 / (6 * 70e9)
    rate = training["rate"]
    assert rate["tokens_per_second"] == pytest.approx(speed, rel=0.01)
    expected = rate["overhead_seconds"] + 840 / speed
    assert training["seconds"] == pytest.approx(expected, abs=0.2)


def classification(**hyperparameters: Any) -> dict[str, Any]:
    return {"type": "classification", "classification": {"hyperparameters": hyperparameters}}


def test_encoders_have_the_names_that_their_jobs_show(
    http: httpx.Client, openai: OpenAI, engine: FakeEngine
) -> None:
    file = upload(openai, [{"text": f"text {n}", "label": str(n % 2)} for n in range(40)])
    found = []
    for chosen in ({}, {"max_length": 64, "class_weights": "balanced"}):
        body = {"model": "small-encoder", "training_file": file, "method": classification(**chosen)}
        found.append(values_of(estimate(http, **body)["training"]))
    auto, explicit = found
    # The engine says how long texts may be.
    assert (auto["max_length"], auto["class_weights"]) == ((8192, "auto"), ("none", "auto"))
    assert explicit["class_weights"] == ("balanced", "request")
    assert explicit["max_length"][1] == "request"
    assert "max_seq_length" not in auto


def test_larger_encoders_need_memory_for_fewer_tokens_at_a_time(
    http: httpx.Client, openai: OpenAI, engine: FakeEngine
) -> None:
    """A step has 1,792 tokens, and a model of 30 layers of 576 computes 546 of them at a time."""
    file = upload(openai, [{"text": f"text {n}", "label": str(n % 2)} for n in range(512)])
    body = {"model": "small-encoder", "training_file": file}
    training = estimate(http, **body, method=classification(batch_size=256))["training"]
    facts = ModelFacts.model_validate(engine.facts)
    assert training["peak_memory_bytes"] == estimate_memory(facts, 546, {"tuning": "lora"}, rank=16)
