"""The demo repeats no work, follows running jobs, and reports errors."""

import io
import json
from typing import Any

import httpx
import pytest
from rich.console import Console

from app.local.api_client import ApiClient, ApiFailed
from app.local.demo import DemoFailed, ensure_tuned_model
from app.local.demo_ui import DemoUi

MODEL = "ft:smollm2-135m-instruct:luthier:workshop:AbCd1234"


class FakeService:
    """A fake service: records requests, and responds with the test's jobs and events."""

    def __init__(self, *jobs: dict[str, Any], events: list[dict[str, Any]] | None = None) -> None:
        self.requests: list[str] = []
        self.posted: dict[str, Any] = {}
        self.jobs = list(jobs)
        self.events = events or []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.requests.append(f"{request.method} {path}")
        if path.endswith("/events"):
            return httpx.Response(200, json={"data": self.events})
        if path == "/v1/files":
            return httpx.Response(200, json={"id": "file-1"})
        if request.method == "POST":
            self.posted = json.loads(request.content)
            self.jobs.append(job("succeeded", metadata=self.posted["metadata"]))
            return httpx.Response(200, json=self.jobs[-1])
        if path == "/v1/fine_tuning/jobs":
            return httpx.Response(200, json={"data": self.jobs})
        if path.startswith("/v1/models/"):
            return httpx.Response(200 if self.models_exist else 404, json={})
        return httpx.Response(200, json=self.jobs[-1])

    models_exist = True

    def run(self) -> tuple[str, str]:
        """Run the demo; the fine-tuned model's name, and the output."""
        output = io.StringIO()
        with httpx.Client(transport=httpx.MockTransport(self), base_url="http://service") as client:
            return ensure_tuned_model(
                ApiClient(client), DemoUi(Console(file=output))
            ), output.getvalue()


def job(status: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": "ftjob-1",
        "status": status,
        "fine_tuned_model": MODEL if status == "succeeded" else None,
        "created_at": 1_790_000_000,
        "finished_at": 1_790_000_030,
        "trained_tokens": 9000,
        "error": None,
        "metadata": None,
    } | changes


def test_the_first_run_uploads_creates_a_job_and_follows_it() -> None:
    service = FakeService(events=[{"id": "e1", "type": "message", "message": "Hello", "data": {}}])
    model, output = service.run()
    assert model == MODEL
    assert service.requests.count("POST /v1/files") == 2
    assert service.posted["suffix"] == "workshop"
    assert "  Hello\n" in output
    assert "ftjob-1 succeeded after 30 s, 9000 tokens trained" in output


def test_the_second_run_finds_the_model_of_the_first() -> None:
    service = FakeService()
    service.run()
    service.requests.clear()
    model, output = service.run()
    assert model == MODEL
    assert "trained 20" in output
    assert not [line for line in service.requests if line.startswith("POST")]


def test_a_deleted_model_is_trained_again() -> None:
    service = FakeService()
    service.run()
    service.requests.clear()
    service.models_exist = False
    service.run()
    assert "POST /v1/fine_tuning/jobs" in service.requests


def test_a_running_job_is_followed() -> None:
    service = FakeService()
    service.run()
    (posted,) = service.jobs
    service.jobs = [posted | {"status": "running"}, posted]
    service.requests.clear()
    assert service.run()[0] == MODEL
    assert not [line for line in service.requests if line.startswith("POST")]


def test_a_failed_job_is_reported_with_its_error() -> None:
    service = FakeService()
    service.run()
    failed = job("failed", error={"message": "The disk is full."})
    service.jobs = [service.jobs[0] | {"status": "queued"}, failed]
    with pytest.raises(DemoFailed, match=r"The job ftjob-1 failed: The disk is full\."):
        service.run()


def test_each_event_is_shown_once() -> None:
    steps = [
        {
            "id": f"e{step}",
            "type": "metrics",
            "message": f"Step {step}/6: training loss=1.00",
            "data": {"step": step, "total_steps": 6, "train_loss": 1.0},
        }
        for step in (6, 5, 4, 3, 2, 1)
    ]
    _, output = FakeService(events=steps).run()
    lines = [line.strip() for line in output.splitlines() if "Step" in line]
    assert lines == [f"Step {step}/6: training loss=1.00" for step in (1, 5, 6)]


def test_an_unreachable_service_has_an_error_message() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with (
        httpx.Client(transport=httpx.MockTransport(refuse), base_url="http://service") as client,
        pytest.raises(ApiFailed, match=r"http://service.* does not answer .*`luthier up`"),
    ):
        ApiClient(client).get("/v1/models")


def test_an_error_response_is_shown() -> None:
    body = {"error": {"message": "Incorrect API key provided"}}
    transport = httpx.MockTransport(lambda _: httpx.Response(401, json=body))
    with (
        httpx.Client(transport=transport, base_url="http://service") as client,
        pytest.raises(ApiFailed, match=r"returned 401: .*Incorrect API key provided"),
    ):
        ApiClient(client).get("/v1/models")


def test_model_names_are_not_wrapped_on_a_narrow_terminal() -> None:
    output = io.StringIO()
    name = f"ft:{'m' * 90}"
    DemoUi(Console(file=output, force_terminal=True, width=80)).show_answers("Why?", {name: "So."})
    assert name in output.getvalue().splitlines()
