"""Encoders on real data: what jobs reach through a running Luthier, and how fast.

    python -m bench.encoders --data FOLDER --url http://127.0.0.1:8000 --key sk-… [--only NAME …]

FOLDER holds banking77, wnut17 and squad as {name}.train.jsonl and {name}.valid.jsonl. Prints one
JSON line for each job, then a table: the measures of each job's validation file, and those of a
head that was not trained, or of the base model's own vectors. `--resident N` asks N classifiers
instead, which it makes itself; it needs no service. See `bench.resident`.
"""

import argparse
import base64
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

from bench.multi_lora import BASE, TARGETS, measure_multi_lora

POLL_SECONDS = 1.0
# Rows of a job that is to learn nothing.
UNTRAINED_ROWS = 16


@dataclass(frozen=True, slots=True)
class BenchmarkJob:
    """A job to run: its data, its method, and the numbers of its report that count."""

    dataset: str
    method: str
    metrics: tuple[str, ...]
    target: str


TASKS = {
    "banking77": BenchmarkJob(
        "banking77", "classification", ("accuracy", "f1_macro"), "accuracy >= 0.92 in 6 min"
    ),
    "wnut17": BenchmarkJob(
        "wnut17", "token_classification", ("f1", "precision", "recall"), "f1 >= 0.50 in 4 min"
    ),
    "squad": BenchmarkJob(
        "squad", "question_answering", ("exact_match", "f1"), "above an untrained head"
    ),
    "embedding": BenchmarkJob(
        "banking77", "embedding", ("retrieval_at_1", "retrieval_at_5"), "above the base"
    ),
}


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def run_job(
    client: OpenAI, folder: Path, task: BenchmarkJob, hyperparameters: dict[str, Any]
) -> dict[str, Any]:
    """Train as a user does; the last report, and the seconds from creation to success."""
    train = (folder / f"{task.dataset}.train.jsonl").read_bytes()
    job, seconds = run_to_success(client, folder, task, train, hyperparameters)
    numbers = {name: round(value, 4) for name, value in read_report(client, task, job).items()}
    return {"seconds": round(seconds, 1), "model": job.fine_tuned_model, **numbers}


def measure_untrained(client: OpenAI, folder: Path, task: BenchmarkJob) -> dict[str, float]:
    """What the same head gives whose job took steps of no length."""
    rows = (folder / f"{task.dataset}.train.jsonl").read_bytes().splitlines()[:UNTRAINED_ROWS]
    nothing = {"n_epochs": 1, "learning_rate_multiplier": 1e-9}
    job, _ = run_to_success(client, folder, task, b"\n".join(rows), nothing)
    return {f"untrained_{k}": round(v, 4) for k, v in read_report(client, task, job).items()}


def run_to_success(
    client: OpenAI, folder: Path, task: BenchmarkJob, train: bytes, hyperparameters: dict[str, Any]
) -> tuple[FineTuningJob, float]:
    """A job that succeeded, and the seconds from its creation to then."""
    valid = (folder / f"{task.dataset}.valid.jsonl").read_bytes()
    files = [
        client.files.create(file=(f"{task.dataset}.jsonl", part), purpose="fine-tune").id
        for part in (train, valid)
    ]
    method: Any = {"type": task.method, task.method: {"hyperparameters": hyperparameters}}
    started = time.monotonic()
    job = client.fine_tuning.jobs.create(
        model=BASE, training_file=files[0], validation_file=files[1], method=method, seed=1
    )
    while job.status not in ("succeeded", "failed", "cancelled"):
        time.sleep(POLL_SECONDS)
        job = client.fine_tuning.jobs.retrieve(job.id)
    seconds = time.monotonic() - started
    if job.status != "succeeded":
        raise SystemExit(f"{task.method} {job.status}: {job.error}")
    return job, seconds


def read_report(client: OpenAI, task: BenchmarkJob, job: FineTuningJob) -> dict[str, float]:
    """Those numbers of evaluation.json that count."""
    content = client.files.content(job.result_files[1]).content
    evaluation = json.loads(base64.b64decode(content))
    return {name: evaluation[name] for name in task.metrics}


def measure_base_retrieval(client: OpenAI, path: Path) -> float:
    """How often the nearest other text has the same label, in the base model's own space."""
    rows = read_rows(path)
    vectors = []
    for start in range(0, len(rows), 256):
        texts = [row["text"] for row in rows[start : start + 256]]
        vectors += [one.embedding for one in client.embeddings.create(model=BASE, input=texts).data]
    likeness = np.array(vectors) @ np.array(vectors).T
    np.fill_diagonal(likeness, -1)
    labels = np.array([row["label"] for row in rows])
    asked = np.array([(labels == label).sum() > 1 for label in labels])
    return float((labels[likeness.argmax(1)] == labels)[asked].mean())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--key", default="")
    parser.add_argument("--only", nargs="*", default=list(TASKS))
    parser.add_argument("--hyperparameters", type=json.loads, default={})
    parser.add_argument("--resident", type=int, default=0)
    parser.add_argument("--asked", choices=TARGETS, action="append")
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    if asked.resident:
        arms = asked.asked or TARGETS
        for line in measure_multi_lora(asked.data, asked.resident, asked.threads, targets=arms):
            print(json.dumps(line), flush=True)
        return
    client = OpenAI(base_url=f"{asked.url}/v1", api_key=asked.key, timeout=600)
    results = {}
    for name in asked.only:
        results[name] = run_job(client, asked.data, TASKS[name], asked.hyperparameters)
        if name == "embedding":
            valid = asked.data / f"{TASKS[name].dataset}.valid.jsonl"
            results[name]["base_retrieval_at_1"] = round(measure_base_retrieval(client, valid), 4)
        if name == "squad":
            results[name] |= measure_untrained(client, asked.data, TASKS[name])
        print(json.dumps({"task": name, **results[name]}), flush=True)
    for name, result in results.items():
        numbers = ", ".join(f"{key} {value}" for key, value in result.items() if key != "model")
        print(f"| {name} | {TASKS[name].method} | {numbers} | {TASKS[name].target} |")


if __name__ == "__main__":
    main()
