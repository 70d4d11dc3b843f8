"""Processes are killed in the middle of a batch: its output is that of an undisturbed one."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.conftest import ROOT
from tests.faults.scenario import MODEL, Scenario
from tests.polling import wait_until
from tests.ports import free_port

ENDED = ("completed", "failed", "expired", "cancelled")


class EchoEngine:
    """The double of an engine, as a process that can be killed and started again."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.faults.echo_engine", str(self.port)]
        self._process = subprocess.Popen(command, cwd=ROOT)
        wait_until("the engine is healthy", self._is_healthy)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)

    def _is_healthy(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=5, trust_env=False).is_success
        except httpx.TransportError:
            return False


@contextmanager
def run_engine() -> Iterator[EchoEngine]:
    engine = EchoEngine()
    engine.start()
    try:
        yield engine
    finally:
        engine.kill()


def make_requests(count: int) -> bytes:
    lines = (
        {
            "custom_id": f"request-{number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": MODEL, "messages": [{"role": "user", "content": f"text {number}"}]},
        }
        for number in range(count)
    )
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def create_batch(scenario: Scenario, count: int) -> str:
    files = {"file": ("requests.jsonl", make_requests(count))}
    uploaded = scenario.request("POST", "/v1/files", files=files, data={"purpose": "batch"})
    created = scenario.request(
        "POST",
        "/v1/batches",
        json={
            "input_file_id": uploaded.json()["id"],
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        },
    )
    assert created.status_code == 200, created.text
    batch_id: str = created.json()["id"]
    return batch_id


def get_batch(scenario: Scenario, batch_id: str) -> dict[str, Any]:
    batch: dict[str, Any] = scenario.request("GET", f"/v1/batches/{batch_id}").json()
    return batch


def wait_for_answers(scenario: Scenario, batch_id: str, count: int) -> None:
    wait_until(
        f"{count} requests are answered",
        lambda: get_batch(scenario, batch_id)["request_counts"]["completed"] >= count,
    )


def check_output(scenario: Scenario, batch_id: str, count: int) -> None:
    """Each request is answered and counted once, in order."""
    wait_until(
        "the batch has ended",
        lambda: get_batch(scenario, batch_id)["status"] in ENDED,
        seconds=900,
    )
    batch = get_batch(scenario, batch_id)
    assert batch["status"] == "completed", batch
    assert batch["request_counts"] == {"total": count, "completed": count, "failed": 0}
    assert batch["usage"]["input_tokens"] == 3 * count
    assert batch["usage"]["output_tokens"] == 2 * count
    assert batch["error_file_id"] is None
    content = scenario.request("GET", f"/v1/files/{batch['output_file_id']}/content").text
    answers = [
        (line["custom_id"], line["response"]["body"]["choices"][0]["message"]["content"])
        for line in map(json.loads, content.splitlines())
    ]
    assert answers == [(f"request-{n}", f"echo: text {n}") for n in range(count)]


@pytest.mark.parametrize("count", [2000])
def test_f44_the_worker_and_the_engine_are_killed_in_a_batch(
    scenario: Scenario, count: int
) -> None:
    with run_engine() as engine:
        scenario.start("api-1", "io-1", engine_url=engine.url)
        batch_id = create_batch(scenario, count)
        wait_for_answers(scenario, batch_id, count // 10)
        scenario["io-1"].kill()
        scenario.start("io-2", engine_url=engine.url)
        wait_for_answers(scenario, batch_id, count // 2)
        engine.kill()
        engine.start()
        check_output(scenario, batch_id, count)


def test_f45_a_worker_that_was_frozen_writes_nothing_afterwards(scenario: Scenario) -> None:
    with run_engine() as engine:
        scenario.start("api-1", "io-1", engine_url=engine.url)
        batch_id = create_batch(scenario, 1000)
        wait_for_answers(scenario, batch_id, 100)
        scenario["io-1"].freeze()
        scenario.start("io-2", engine_url=engine.url)
        check_output(scenario, batch_id, 1000)
        scenario["io-1"].thaw()
        scenario["io-1"].terminate()
        scenario["io-1"].wait()
        check_output(scenario, batch_id, 1000)
