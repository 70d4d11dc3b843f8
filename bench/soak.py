"""Soak: mixed traffic of ten projects for half an hour, and what the service holds meanwhile.

    python -m bench.soak [--minutes 30] [--projects 10]

Prints one line a minute, then for each process kind the resident memory, file descriptors and
threads, and for the service the bytes on disk and the rows: after the warm-up (a third of the time)
and at the end, each the median of five minutes. What grows between the two is a leak. Retention is
set to minutes, and the projects delete their files and models, so the rows must be flat too.
"""

import argparse
import json
import random
import statistics
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
from sqlalchemy import text

from app.db.session import create_database_engine
from app.local.home import Home
from bench.stack import Stack, run_stack

CHAT_MODEL = "smollm2-135m-instruct"
ENCODER = "all-minilm-l6-v2"
ROW = {"messages": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Yes."}]}
LINE = json.dumps(ROW).encode() + b"\n"
SAMPLE_SECONDS = 15.0
# A job that is still queued then is cancelled.
MAX_JOB_SECONDS = 120
# Between two requests of a project; one project is never the load, all together are.
PAUSE_SECONDS = (0.2, 2.0)
KINDS = {
    "postgres": "postgres",
    "valkey": "valkey",
    "worker.inference": "engine",
    "-Q train": "trainer",
    "-Q io": "io",
    "app.api_process": "api",
    "app.entry up": "up",
}
# Minutes, so that what ended before the warm-up is gone at the end.
VARIABLES = {
    "LUTHIER_UPLOAD_RETENTION_DAYS": "0.0007",
    "LUTHIER_JOB_EVENT_RETENTION_DAYS": "0.0015",
    "LUTHIER_JOB_RETENTION_DAYS": "0.0015",
    "LUTHIER_DELETED_ROW_RETENTION_DAYS": "0.0007",
    "LUTHIER_IDEMPOTENCY_RETENTION_HOURS": "0.03",
}

Request = Callable[[httpx.Client, random.Random], httpx.Response | None]
Sample = dict[str, float]


def upload_and_delete(client: httpx.Client, chance: random.Random) -> httpx.Response:
    file = upload(client, chance.choice((1, 12, 2000)))
    client.get("/v1/files", params={"limit": 5}).raise_for_status()
    return client.delete(f"/v1/files/{file}")


def upload(client: httpx.Client, rows: int) -> str:
    response = client.post(
        "/v1/files", data={"purpose": "fine-tune"}, files={"file": ("t.jsonl", LINE * rows)}
    )
    return str(response.raise_for_status().json()["id"])


def upload_in_parts(client: httpx.Client, chance: random.Random) -> httpx.Response:
    """An upload, which is cancelled or completed; its file is deleted."""
    body = {
        "filename": "t.jsonl",
        "purpose": "fine-tune",
        "bytes": len(LINE) * 12,
        "mime_type": "application/jsonl",
    }
    path = f"/v1/uploads/{client.post('/v1/uploads', json=body).raise_for_status().json()['id']}"
    part = client.post(f"{path}/parts", files={"data": ("p", LINE * 12)}).raise_for_status().json()
    if chance.random() < 0.5:
        return client.post(f"{path}/cancel")
    completed = client.post(f"{path}/complete", json={"part_ids": [part["id"]]})
    return client.delete(f"/v1/files/{completed.raise_for_status().json()['file']['id']}")


def chat(client: httpx.Client, chance: random.Random) -> httpx.Response:
    body = {
        "model": CHAT_MODEL,
        "messages": [{"role": "user", "content": f"Name {chance.randrange(9999)} colours."}],
        "max_tokens": chance.choice((1, 8, 32)),
        "stream": chance.random() < 0.5,
    }
    return client.post("/v1/chat/completions", json=body)


def hang_up(client: httpx.Client, _: random.Random) -> None:
    """A stream whose client disconnects after its first bytes."""
    body = {
        "model": CHAT_MODEL,
        "messages": [{"role": "user", "content": "Tell a long story."}],
        "stream": True,
        "max_tokens": 200,
    }
    with client.stream("POST", "/v1/chat/completions", json=body) as response:
        next(response.iter_bytes(), None)


def embed(client: httpx.Client, chance: random.Random) -> httpx.Response:
    texts = [f"text {chance.random()}" for _ in range(chance.choice((1, 16)))]
    return client.post("/v1/embeddings", json={"model": ENCODER, "input": texts})


def make_mistakes(client: httpx.Client, chance: random.Random) -> httpx.Response:
    client.get("/v1/files/file-unknown")
    client.post("/v1/chat/completions", content=b"{" * chance.randrange(1000))
    return client.get("/v1/models", headers={"Authorization": "Bearer sk-wrong"})


def train(client: httpx.Client, chance: random.Random) -> httpx.Response:
    """A job, which is cancelled or runs to its end; its model answers. Its owner deletes all."""
    file = upload(client, 12)
    response = run_job(client, file, cancel=chance.random() < 0.5)
    client.delete(f"/v1/files/{file}").raise_for_status()
    return response


def run_job(client: httpx.Client, file: str, *, cancel: bool) -> httpx.Response:
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1}}}
    body = {"model": CHAT_MODEL, "training_file": file, "method": method}
    job = client.post("/v1/fine_tuning/jobs", json=body)
    if job.status_code != 200:
        return job
    path = f"/v1/fine_tuning/jobs/{job.json()['id']}"
    if cancel:
        return client.post(f"{path}/cancel")
    for _ in range(MAX_JOB_SECONDS):
        state = client.get(path).json()
        if state["status"] in ("succeeded", "failed", "cancelled"):
            break
        time.sleep(1)
    else:
        return client.post(f"{path}/cancel")
    model = state["fine_tuned_model"]
    question = {"model": model, "messages": [{"role": "user", "content": "Hi?"}], "max_tokens": 4}
    client.post("/v1/chat/completions", json=question).raise_for_status()
    return client.delete(f"/v1/models/{model}")


# How often each is sent, relative to the others.
TRAFFIC: Mapping[Request, int] = {
    chat: 30,
    embed: 20,
    upload_and_delete: 15,
    make_mistakes: 10,
    upload_in_parts: 8,
    hang_up: 5,
    train: 2,
}


class Traffic:
    """Threads, one for each project, that send requests until `stop`; counts responses."""

    def __init__(self, stack: Stack, projects: int) -> None:
        self.statuses: Counter[str] = Counter()
        self._stopped = threading.Event()
        keys = [stack.make_project(f"soak-{number}") for number in range(projects)]
        self._threads = [
            threading.Thread(target=self._send, args=(stack.url, key, number))
            for number, key in enumerate(keys)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _send(self, url: str, key: str, seed: int) -> None:
        chance = random.Random(seed)
        requests, weights = list(TRAFFIC), list(TRAFFIC.values())
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=url, headers=headers, timeout=300) as client:
            while not self._stopped.wait(chance.uniform(*PAUSE_SECONDS)):
                (request,) = chance.choices(requests, weights)
                try:
                    response = request(client, chance)
                    status = str(response.status_code) if response is not None else "disconnected"
                except httpx.HTTPStatusError as error:
                    status = str(error.response.status_code)
                except httpx.TransportError as error:
                    status = type(error).__name__
                self.statuses[f"{request.__name__} {status}"] += 1


class Sampler:
    """Reads what the processes of a stack hold."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        running = Home(stack.home).running_stack()
        assert running is not None
        self._database = create_database_engine(running.database_url)

    def sample(self) -> Sample:
        found: dict[str, float] = defaultdict(float)
        for process in self._processes():
            with suppress(psutil.Error):
                kind = _kind(process)
                if kind is not None:
                    found[f"{kind} MiB"] += process.memory_full_info().pss / 2**20
                    found[f"{kind} descriptors"] += process.num_fds()
                    found[f"{kind} threads"] += process.num_threads()
        found["disk MiB"] = _folder_bytes(self._stack.home) / 2**20
        return {**found, **self._count_rows()}

    def _processes(self) -> list[psutil.Process]:
        parent = psutil.Process(self._stack.pid)
        return [parent, *parent.children(recursive=True)]

    def _count_rows(self) -> Sample:
        with self._database.connect() as connection:
            tables = connection.execute(
                text("SELECT relname FROM pg_stat_user_tables ORDER BY relname")
            ).scalars()
            counts: Sample = {}
            for table in tables:
                count = connection.execute(text(f'SELECT count(*) FROM "{table}"'))
                counts[f"rows {table}"] = int(count.scalar_one())
        return {"rows": sum(counts.values()), **counts}


def _kind(process: psutil.Process) -> str | None:
    command = " ".join(process.cmdline()) or process.name()
    return next((kind for words, kind in KINDS.items() if words in command), None)


def _folder_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.lstat().st_blocks * 512
    return total


def print_table(samples: list[Sample], per_period: int) -> None:
    """Print each value after the warm-up and at the end, and what it grew by."""
    warm = samples[len(samples) // 3 :][:per_period]
    last = samples[-per_period:]
    print("| What | After the warm-up | At the end | Growth |")
    print("| --- | --- | --- | --- |")
    for name in sorted(set().union(*samples)):
        before, after = (
            statistics.median(sample.get(name, 0) for sample in period) for period in (warm, last)
        )
        growth = f"{(after / before - 1) * 100:+.1f} %" if before else f"{after:+.0f}"
        print(f"| {name} | {before:.0f} | {after:.0f} | {growth} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--projects", type=int, default=10)
    arguments = parser.parse_args()
    with run_stack(**VARIABLES) as stack:
        sampler, traffic = Sampler(stack), Traffic(stack, arguments.projects)
        samples: list[Sample] = []
        ends_at = time.monotonic() + arguments.minutes * 60
        try:
            while time.monotonic() < ends_at:
                time.sleep(SAMPLE_SECONDS)
                samples.append(sampler.sample())
                if len(samples) % 4 == 0:
                    line = {name: round(value) for name, value in samples[-1].items()}
                    print(json.dumps({"minute": len(samples) // 4, **line}), flush=True)
        finally:
            traffic.stop()
        print_table(samples, per_period=max(1, min(20, len(samples) // 3)))
        print(json.dumps(dict(sorted(traffic.statuses.items()))))


if __name__ == "__main__":
    main()
