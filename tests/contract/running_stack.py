"""A running `luthier up`, training data for it, and waiting for its jobs."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob
from prometheus_client.parser import text_string_to_metric_families

from app.local.processes import is_alive
from tests.native_kernels import copy_kernels
from tests.polling import wait_until
from tests.ports import free_port
from tests.webhook_receivers import WebhookReceiver

ROOT = Path(__file__).resolve().parents[2]
BASE = "smollm2-135m-instruct"
SYSTEM = "You are the front desk. Answer with the desk and the urgency only."
# Small enough to train in seconds, regular enough that two epochs lower the loss.
ROWS = [
    ("My parcel has not arrived for two weeks.", "desk=shipping; urgency=high"),
    ("Can I change the address of my order?", "desk=shipping; urgency=low"),
    ("You charged me twice this month!", "desk=billing; urgency=high"),
    ("Where do I find last year's invoice?", "desk=billing; urgency=low"),
    ("The lamp I bought gives off smoke.", "desk=safety; urgency=high"),
    ("Is the lamp fit for bathrooms?", "desk=safety; urgency=low"),
    ("I cannot log in since this morning.", "desk=account; urgency=high"),
    ("How do I change my e-mail address?", "desk=account; urgency=low"),
    ("The box was empty when it came.", "desk=shipping; urgency=high"),
    ("Do you ship to the islands?", "desk=shipping; urgency=low"),
    ("My card was charged after I cancelled.", "desk=billing; urgency=high"),
    ("May I pay by bank transfer?", "desk=billing; urgency=low"),
]


def chat_file(rows: list[tuple[str, str]]) -> bytes:
    """A training file in the chat format."""
    lines = []
    for user, assistant in rows:
        messages = [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": user},
            {"role": "assistant", "content": assistant},
        ]
        lines.append(json.dumps({"messages": messages}))
    return ("\n".join(lines) + "\n").encode()


@dataclass(frozen=True)
class WebhookEndpoint:
    """A registered webhook endpoint: its receiver, id and signing secret."""

    receiver: WebhookReceiver
    endpoint_id: str
    secret: str


@dataclass(frozen=True)
class Stack:
    """A running `luthier up`."""

    url: str
    key: str
    home: Path
    process: subprocess.Popen[bytes]

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=60).status_code == 200
        except httpx.TransportError:
            return False

    def http(self, key: str | None = None) -> httpx.Client:
        return httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {key or self.key}"}, timeout=120
        )

    def engine_metrics(self) -> dict[str, float]:
        """The engine's Prometheus metrics, by name, summed over its base models."""
        engine = self.find_child("worker.inference").environ()["LUTHIER_ENGINE_URL"]
        families = text_string_to_metric_families(httpx.get(f"{engine}/metrics", timeout=60).text)
        totals: dict[str, float] = {}
        for sample in (sample for family in families for sample in family.samples):
            totals[sample.name] = totals.get(sample.name, 0) + sample.value
        return totals

    def find_child(self, *words: str) -> psutil.Process:
        """Find the child process whose command line contains all these words."""
        for process in psutil.Process(self.process.pid).children(recursive=True):
            line = " ".join(process.cmdline())
            if all(word in line for word in words):
                return process
        raise AssertionError(f"no child process has {words} in its command line")


@contextmanager
def run_stack(home: Path, output: Path, **environment: str) -> Iterator[Stack]:
    """Run `luthier up` with its own home until the block ends; `output` is its log."""
    copy_kernels(home)
    port = free_port()
    log = output.open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "app.entry", "up"],
        cwd=ROOT,
        env=os.environ
        | {
            "LUTHIER_HOME": str(home),
            "PORT": str(port),
            # Short, so that the lease of a killed trainer expires while a test waits.
            "LUTHIER_LEASE_SECONDS": "6",
            "LUTHIER_HEARTBEAT_INTERVAL_SECONDS": "1",
            "LUTHIER_WEBHOOK_ALLOWED_NETWORKS": "127.0.0.1",
        }
        | environment,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        started = Stack(f"http://127.0.0.1:{port}", "", home, process)
        wait_until(
            f"/readyz is 200; see {output}",
            lambda: started.is_ready() or process.poll() is not None,
            seconds=600,
        )
        assert process.poll() is None, output.read_text()
        key = (home / "api_key").read_text().strip()
        yield Stack(started.url, key, home, process)
    finally:
        children = (
            psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        )
        process.send_signal(signal.SIGINT)
        process.wait(120)
        log.close()
        # Processes killed at the last moment may need a moment to end.
        wait_until(f"`luthier up` left no process: {children}", lambda: _have_ended(children))


def _have_ended(processes: list[psutil.Process]) -> bool:
    return not any(is_alive(process) for process in processes)


def wait_for_job(client: OpenAI, job_id: str, *, seconds: float = 540) -> FineTuningJob:
    """Poll a job until it is in a terminal state, as users do."""
    deadline = time.monotonic() + seconds
    while True:
        job = client.fine_tuning.jobs.retrieve(job_id)
        if job.status in ("succeeded", "failed", "cancelled"):
            return job
        assert time.monotonic() < deadline, f"{job_id} is still {job.status} after {seconds} s"
        time.sleep(0.3)
