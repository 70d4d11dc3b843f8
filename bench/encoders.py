"""Encoder jobs on public datasets, through a running Luthier: metrics reached and time taken.

    python -m bench.encoders --data FOLDER --url http://127.0.0.1:8000 --key sk-… [--only NAME …]

FOLDER contains banking77, wnut17 and squad as {name}.train.jsonl and {name}.valid.jsonl. Prints one
JSON line for each job, then a table: the metrics of each job's validation file, and as a baseline
those of an untrained head or of the base model's own vectors. `--resident N` instead measures N
resident classifiers, which it makes itself without a service; see `bench.multi_lora`.
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

POLL_INTERVAL_SECONDS = 1.0
# Rows of the job that makes the untrained baseline.
UNTRAINED_ROWS = 16


@dataclass(frozen=True, slots=True)
class BenchmarkJob:
    """A job to run: its dataset and method, the metrics to print, and the target to reach."""

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
    """Run a job through the API; return its metrics and the seconds from creation to success."""
    train = (folder / f"{task.dataset}.train.jsonl").read_bytes()
    job, seconds = run_to_success(client, folder, task, train, hyperparameters)
    numbers = {name: round(value, 4) for name, value in read_report(client, task, job).items()}
    return {"seconds": round(seconds, 1), "model": job.fine_tuned_model, **numbers}


def measure_untrained(client: OpenAI, folder: Path, task: BenchmarkJob) -> dict[str, float]:
    """Measure the metrics of an untrained head, by a job with a learning rate near zero."""
    rows = (folder / f"{task.dataset}.train.jsonl").read_bytes().splitlines()[:UNTRAINED_ROWS]
    no_op_hyperparameters = {"n_epochs": 1, "learning_rate_multiplier": 1e-9}
    job, _ = run_to_success(client, folder, task, b"\n".join(rows), no_op_hyperparameters)
    return {f"untrained_{k}": round(v, 4) for k, v in read_report(client, task, job).items()}


def run_to_success(
    client: OpenAI, folder: Path, task: BenchmarkJob, train: bytes, hyperparameters: dict[str, Any]
) -> tuple[FineTuningJob, float]:
    """Run a job until it succeeds; return it with its duration. Raises SystemExit if it fails."""
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
        time.sleep(POLL_INTERVAL_SECONDS)
        job = client.fine_tuning.jobs.retrieve(job.id)
    seconds = time.monotonic() - started
    if job.status != "succeeded":
        raise SystemExit(f"{task.method} {job.status}: {job.error}")
    return job, seconds


def read_report(client: OpenAI, task: BenchmarkJob, job: FineTuningJob) -> dict[str, float]:
    """Read the task's metrics from evaluation.json."""
    content = client.files.content(job.result_files[1]).content
    evaluation = json.loads(base64.b64decode(content))
    return {name: evaluation[name] for name in task.metrics}


def measure_base_retrieval(client: OpenAI, path: Path) -> float:
    """Retrieval at 1 by label, with the base model's own vectors."""
    rows = read_rows(path)
    vectors = []
    for start in range(0, len(rows), 256):
        texts = [row["text"] for row in rows[start : start + 256]]
        vectors += [
            item.embedding for item in client.embeddings.create(model=BASE, input=texts).data
        ]
    similarity = np.array(vectors) @ np.array(vectors).T
    np.fill_diagonal(similarity, -1)
    labels = np.array([row["label"] for row in rows])
    has_neighbour = np.array([(labels == label).sum() > 1 for label in labels])
    return float((labels[similarity.argmax(1)] == labels)[has_neighbour].mean())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--key", default="")
    parser.add_argument("--only", nargs="*", default=list(TASKS))
    parser.add_argument("--hyperparameters", type=json.loads, default={})
    parser.add_argument("--resident", type=int, default=0)
    parser.add_argument("--target", choices=TARGETS, action="append")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.resident:
        targets = arguments.target or TARGETS
        for line in measure_multi_lora(
            arguments.data, arguments.resident, arguments.threads, targets=targets
        ):
            print(json.dumps(line), flush=True)
        return
    client = OpenAI(base_url=f"{arguments.url}/v1", api_key=arguments.key, timeout=600)
    results = {}
    for name in arguments.only:
        results[name] = run_job(client, arguments.data, TASKS[name], arguments.hyperparameters)
        if name == "embedding":
            valid = arguments.data / f"{TASKS[name].dataset}.valid.jsonl"
            results[name]["base_retrieval_at_1"] = round(measure_base_retrieval(client, valid), 4)
        if name == "squad":
            results[name] |= measure_untrained(client, arguments.data, TASKS[name])
        print(json.dumps({"task": name, **results[name]}), flush=True)
    for name, result in results.items():
        numbers = ", ".join(f"{key} {value}" for key, value in result.items() if key != "model")
        print(f"| {name} | {TASKS[name].method} | {numbers} | {TASKS[name].target} |")


if __name__ == "__main__":
    main()
