"""The demonstration does nothing twice, follows what goes on, and says in words what went wrong."""

import io
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from rich.console import Console

from app.local.demo import ApiClient, DemoFailed, ensure_tuned_model
from app.local.demo_ui import DemoUi

MODEL = "ft:smollm2-135m-instruct:luthier:workshop:AbCd1234"
Answer = Callable[[httpx.Request], Any]


class Service:
    """The HTTP side of a service: keeps what was asked, answers what the test says."""

    def __init__(self, *jobs: dict[str, Any], events: list[dict[str, Any]] | None = None) -> None:
        self.asked: list[str] = []
        self.posted: dict[str, Any] = {}
        self.jobs = list(jobs)
        self.events = events or []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.asked.append(f"{request.method} {path}")
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
            return httpx.Response(200 if self.models_are_there else 404, json={})
        return httpx.Response(200, json=self.jobs[-1])

    models_are_there = True

    def run(self) -> tuple[str, str]:
        """The tuned model's name, and what was shown."""
        shown = io.StringIO()
        with httpx.Client(transport=httpx.MockTransport(self), base_url="http://service") as client:
            return ensure_tuned_model(
                ApiClient(client), DemoUi(Console(file=shown))
            ), shown.getvalue()


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


def test_a_first_run_uploads_posts_and_follows() -> None:
    service = Service(events=[{"id": "e1", "type": "message", "message": "Hello", "data": {}}])
    model, shown = service.run()
    assert model == MODEL
    assert service.asked.count("POST /v1/files") == 2
    assert service.posted["suffix"] == "workshop"
    assert "  Hello\n" in shown
    assert "ftjob-1 succeeded after 30 s, 9000 tokens trained" in shown


def test_a_second_run_finds_the_model_of_the_first() -> None:
    service = Service()
    service.run()
    service.asked.clear()
    model, shown = service.run()
    assert model == MODEL
    assert "trained 20" in shown
    assert not [line for line in service.asked if line.startswith("POST")]


def test_a_model_that_was_deleted_is_made_again() -> None:
    service = Service()
    service.run()
    service.asked.clear()
    service.models_are_there = False
    service.run()
    assert "POST /v1/fine_tuning/jobs" in service.asked


def test_a_job_that_still_goes_on_is_followed() -> None:
    service = Service()
    service.run()
    (posted,) = service.jobs
    service.jobs = [posted | {"status": "running"}, posted]
    service.asked.clear()
    assert service.run()[0] == MODEL
    assert not [line for line in service.asked if line.startswith("POST")]


def test_a_job_that_fails_says_why() -> None:
    service = Service()
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
    _, shown = Service(events=steps).run()
    told = [line.strip() for line in shown.splitlines() if "Step" in line]
    assert told == [f"Step {step}/6: training loss=1.00" for step in (1, 5, 6)]


def test_a_service_that_is_away_is_a_sentence() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with (
        httpx.Client(transport=httpx.MockTransport(refuse), base_url="http://service") as client,
        pytest.raises(DemoFailed, match=r"http://service.* does not answer .*`luthier up`"),
    ):
        ApiClient(client).get("/v1/models")


def test_an_error_of_the_service_is_told_in_its_words() -> None:
    body = {"error": {"message": "Incorrect API key provided"}}
    transport = httpx.MockTransport(lambda _: httpx.Response(401, json=body))
    with (
        httpx.Client(transport=transport, base_url="http://service") as client,
        pytest.raises(DemoFailed, match=r"returned 401: .*Incorrect API key provided"),
    ):
        ApiClient(client).get("/v1/models")


def test_names_are_whole_on_a_narrow_terminal() -> None:
    shown = io.StringIO()
    name = f"ft:{'m' * 90}"
    DemoUi(Console(file=shown, force_terminal=True, width=80)).show_answers("Why?", {name: "So."})
    assert name in shown.getvalue().splitlines()
