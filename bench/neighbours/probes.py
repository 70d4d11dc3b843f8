"""The well-behaved project: for each pool, the small request whose latency is measured."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from queue import Queue
from typing import Any

import httpx

from bench.neighbours.attacks import CHAT_MODEL, ENCODER, LINE

POLL_SECONDS = 0.02
WAIT_SECONDS = 120

# Its duration is measured, or, where it returns them, the intervals that it has measured itself.
Probe = Callable[[httpx.Client], object]


class Intervals(list[float]):
    """Times between the tokens of a stream, in seconds."""


def list_jobs(client: httpx.Client) -> None:
    client.get("/v1/fine_tuning/jobs").raise_for_status()


def upload(client: httpx.Client, rows: int = 12) -> str:
    response = client.post(
        "/v1/files", data={"purpose": "fine-tune"}, files={"file": ("t.jsonl", LINE * rows)}
    )
    file = response.raise_for_status().json()
    assert file["status"] == "processed", file
    return str(file["id"])


def chat(client: httpx.Client) -> None:
    body = {
        "model": CHAT_MODEL,
        "messages": [{"role": "user", "content": "Name a colour."}],
        "max_tokens": 8,
    }
    client.post("/v1/chat/completions", json=body).raise_for_status()


def stream(client: httpx.Client) -> Intervals:
    """Read a stream of 32 tokens, each of which is an event, since it has log-probabilities."""
    body = {
        "model": CHAT_MODEL,
        "messages": [{"role": "user", "content": "Tell a long story."}],
        "max_tokens": 32,
        "logprobs": True,
        "stream": True,
    }
    arrived = []
    with client.stream("POST", "/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        arrived += [time.perf_counter() for line in response.iter_lines() if '"logprobs":{' in line]
    return Intervals(later - earlier for earlier, later in pairwise(arrived))


def embed(client: httpx.Client) -> None:
    body = {"model": ENCODER, "input": "Is the lamp fit for bathrooms?"}
    client.post("/v1/embeddings", json=body).raise_for_status()


def grade(client: httpx.Client) -> None:
    grader = {
        "type": "text_similarity",
        "name": "similarity",
        "input": "{{sample.output_text}}",
        "reference": "{{item.answer}}",
        "evaluation_metric": "fuzzy_match",
    }
    body = {"grader": grader, "model_sample": "a lamp", "item": {"answer": "the lamp"}}
    client.post("/v1/fine_tuning/alpha/graders/run", json=body).raise_for_status()


class WebhookProbe:
    """Ends a job and waits for its webhook."""

    def __init__(self, client: httpx.Client, port: int, arrived: "Queue[None]") -> None:
        self._arrived = arrived
        self._file = upload(client)
        endpoint = {
            "name": "probe",
            "url": f"http://127.0.0.1:{port}/",
            "event_types": ["fine_tuning.job.cancelled"],
        }
        client.post("/v1/webhook_endpoints", json=endpoint).raise_for_status()

    def __call__(self, client: httpx.Client) -> None:
        client.post(f"/v1/fine_tuning/jobs/{create_job(client, self._file)}/cancel")
        self._arrived.get(timeout=WAIT_SECONDS)


@contextmanager
def webhook_receiver() -> Iterator[tuple[int, "Queue[None]"]]:
    """A receiver that responds at once; yields its port and a queue of the events received."""
    arrived: Queue[None] = Queue()
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(2**16)
                connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            arrived.put(None)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1], arrived
    finally:
        listener.close()


def create_job(client: httpx.Client, file: str) -> str:
    method: dict[str, Any] = {
        "type": "supervised",
        "supervised": {"hyperparameters": {"n_epochs": 1}},
    }
    body = {"model": CHAT_MODEL, "training_file": file, "method": method}
    return str(client.post("/v1/fine_tuning/jobs", json=body).raise_for_status().json()["id"])


def validate(client: httpx.Client) -> None:
    """Create a job, and wait until its files are validated."""
    _wait_for_job(
        client, create_job(client, upload(client)), lambda status: status != "validating_files"
    )


def train(client: httpx.Client) -> None:
    """Create a job, and wait until it trains."""
    _wait_for_job(client, create_job(client, upload(client)), lambda status: status == "running")


def _wait_for_job(client: httpx.Client, job: str, reached: Callable[[str], bool]) -> None:
    path = f"/v1/fine_tuning/jobs/{job}"
    deadline = time.monotonic() + WAIT_SECONDS
    while not reached(client.get(path).raise_for_status().json()["status"]):
        if time.monotonic() > deadline:
            raise TimeoutError(job)
        time.sleep(POLL_SECONDS)
    client.post(f"{path}/cancel")


PROBES: Mapping[str, Probe] = {
    "API places": list_jobs,
    "upload threads": upload,
    "validation processes": upload,
    "graders": grade,
    "engine slots": chat,
    "engine steps, clients that leave": stream,
    "engine steps, prompts of 10 MB": stream,
    "engine prefill": chat,
    "chat rendering": chat,
    "encoder slices": embed,
    "io tasks": validate,
    "trainers": train,
}
