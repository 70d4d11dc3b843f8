"""Waiting times of users around training: for its first step, its end, and the first token.

    python -m bench.start [--jobs 20] [--cold-jobs 20] [--restarts 3] [--folder FOLDER]

Starts a whole Luthier in a folder, where the base model is converted once, and posts small jobs
one after another on each of the two base models. Of each job, in seconds:

first step   from the POST of the job to the end of its first optimizer step
succeeded    from the end of its last optimizer step until the API says `succeeded`
first token  from then until the model's first answer: a token of a chat, or a class

Steps are read from the job's run folder; everything else is seen by a client. The same is measured
with a process that loads everything for each job (LUTHIER_TRAINING_FORK_SERVER=false). Then the
stack is stopped and started again on its home.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openai import OpenAI

from bench.stack import Stack, run_stack_in
from worker.run_folder import Metrics, RunFolder

CHAT_MODEL = "smollm2-135m-instruct"
ENCODER = "all-minilm-l6-v2"
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
TEXTS = {
    "shipping": ("My parcel is late", "Where is my package", "The courier lost my box"),
    "billing": ("You charged me twice", "I need an invoice", "My card was billed wrongly"),
    "account": ("I cannot log in", "Reset my password", "Change my e-mail address"),
}
CHATS = 24
SHORT = {"hyperparameters": {"n_epochs": 1, "batch_size": 8}}
FOLDER_POLL_SECONDS = 0.005
API_POLL_SECONDS = 0.03
# Time for what a stack does after it is ready.
SETTLE_SECONDS = 15.0


@dataclass(frozen=True)
class Waits:
    """Seconds that a user waits for one job."""

    first_step: float
    succeeded: float
    first_token: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--cold-jobs", type=int, default=20)
    parser.add_argument("--restarts", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="folder of the home, which is kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="luthier-bench-") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        # For root, Postgres runs as another user.
        folder.chmod(0o711)
        for name, count in (("warm", options.jobs), ("cold", options.cold_jobs)):
            if count:
                is_warm = str(name == "warm").lower()
                with run_stack_in(folder, LUTHIER_TRAINING_FORK_SERVER=is_warm) as stack:
                    time.sleep(SETTLE_SECONDS)
                    measure_jobs(name, stack, count)
        if options.restarts:
            measure_restarts(folder, options.restarts)


def measure_jobs(name: str, stack: Stack, count: int) -> None:
    client = OpenAI(base_url=f"{stack.url}/v1", api_key=stack.make_project("bench"))
    chats = b"".join((EXAMPLES / "workshop.train.jsonl").open("rb").readlines()[:CHATS])
    for kind, content, body, ask in (
        (
            "SFT, SmolLM2-135M",
            chats,
            {"model": CHAT_MODEL, "method": {"type": "supervised", "supervised": SHORT}},
            ask_chat,
        ),
        (
            "classification, MiniLM-L6",
            make_texts(),
            {"model": ENCODER, "method": {"type": "classification", "classification": SHORT}},
            ask_classifier,
        ),
    ):
        file = client.files.create(file=("train.jsonl", content), purpose="fine-tune")
        # The first job on a model may have to load it.
        waits = [
            run_job(client, stack.home, {**body, "training_file": file.id}, ask)
            for _ in range(count + 1)
        ]
        report(f"{name}, {kind}, first job", waits[:1])
        report(f"{name}, {kind}, {count} jobs", waits[1:])


def make_texts() -> bytes:
    rows = [
        json.dumps({"text": f"{text} {number}", "label": label})
        for label, texts in TEXTS.items()
        for text in texts
        for number in range(10)
    ]
    return "\n".join(rows).encode()


def run_job(
    client: OpenAI, home: Path, body: dict[str, Any], ask: Callable[[OpenAI, str], None]
) -> Waits:
    began = time.monotonic()
    job = client.post(
        "/fine_tuning/jobs",
        body=body,
        cast_to=dict[str, Any],
    )
    folder = RunFolder(home / "runs" / f"{job['id']}-attempt-1")
    first = last = ended = None
    offset, asked_at = 0, began
    while ended is None:
        for event, end in folder.read_events(offset):
            offset = end
            if isinstance(event, Metrics):
                last = time.monotonic()
                first = first or last
        if time.monotonic() - asked_at > API_POLL_SECONDS:
            job = client.get(f"/fine_tuning/jobs/{job['id']}", cast_to=dict[str, Any])
            asked_at = time.monotonic()
            if job["status"] in ("succeeded", "failed", "cancelled"):
                ended = asked_at
        time.sleep(FOLDER_POLL_SECONDS)
    assert job["status"] == "succeeded", job
    assert first is not None
    assert last is not None
    ask(client, job["fine_tuned_model"])
    return Waits(first - began, ended - last, time.monotonic() - ended)


def ask_chat(client: OpenAI, model: str) -> None:
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "My cello's bridge fell over."}],
        max_completion_tokens=1,
        stream=True,
    )
    next(iter(stream))
    stream.close()


def ask_classifier(client: OpenAI, model: str) -> None:
    client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "My parcel is late"}]
    )


def report(name: str, waits: Sequence[Waits]) -> None:
    values = {
        "first step": [wait.first_step for wait in waits],
        "succeeded": [wait.succeeded for wait in waits],
        "first token": [wait.first_token for wait in waits],
    }
    columns = (f"{label} {describe(seconds)}" for label, seconds in values.items())
    print(f"{name}: {'; '.join(columns)}; load {os.getloadavg()[0]:.1f}", flush=True)


def describe(seconds: Sequence[float]) -> str:
    if len(seconds) == 1:
        return f"{seconds[0]:.2f}"
    p95 = statistics.quantiles(seconds, n=20, method="inclusive")[-1]
    return f"p50 {statistics.median(seconds):.2f} p95 {p95:.2f} max {max(seconds):.2f}"


def measure_restarts(folder: Path, count: int) -> None:
    seconds = []
    for _ in range(count):
        began = time.monotonic()
        with run_stack_in(folder, poll_seconds=0.05):
            seconds.append(time.monotonic() - began)
    print(
        "`luthier up` on the same home until /readyz answers: "
        f"{', '.join(f'{value:.1f}' for value in seconds)} s; load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
