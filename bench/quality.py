"""Quality gain by fine-tuning: exact match of the base and the tuned model, on a running service.

    python bench/quality.py --train FILE --valid FILE [--rows 1000] [--epochs 2]
                            [--seeds 0 1 2] [--keep best last] [--validation-rows 200]

Both files are in the chat format; each row of FILE's last message is the expected answer. One job
runs for each seed and each weights kept. With --validation-rows, the rows behind the training rows
are the job's validation file, by which `keep: best` chooses; the rows of --valid are only asked.
All hyperparameters except n_epochs and keep are "auto". Prints one JSON line per finding: accuracy
of the base model, of the checkpoint after each epoch, and of the tuned model; the loss curve; wall
time; training tokens per second.
"""

import argparse
import itertools
import json
import platform
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

BASE = "smollm2-135m-instruct"


def print_finding(finding: str, **values: Any) -> None:
    print(json.dumps({"finding": finding, **values}), flush=True)


def measure_accuracy(client: OpenAI, model: str, rows: list[dict[str, Any]], clients: int) -> float:
    """Share of rows whose greedy answer equals the expected one, apart from outer whitespace."""

    def is_correct(row: dict[str, Any]) -> bool:
        *prompt, expected = row["messages"]
        completion = client.chat.completions.create(
            model=model, messages=prompt, temperature=0, max_completion_tokens=32
        )
        return (completion.choices[0].message.content or "").strip() == expected["content"].strip()

    with ThreadPoolExecutor(clients) as pool:
        return sum(pool.map(is_correct, rows)) / len(rows)


def measure_and_print(
    client: OpenAI, model: str, rows: list[dict[str, Any]], clients: int
) -> float:
    started = time.monotonic()
    share = measure_accuracy(client, model, rows, clients)
    print_finding(
        "accuracy",
        model=model,
        rows=len(rows),
        exact_match=round(share, 4),
        seconds=round(time.monotonic() - started, 1),
        clients=clients,
    )
    return share


def upload(client: OpenAI, name: str, lines: list[bytes]) -> str:
    return client.files.create(file=(name, b"".join(lines)), purpose="fine-tune").id


def train(client: OpenAI, **request: Any) -> FineTuningJob:
    """Run one job to its end. Raises SystemExit with the job's error if it fails."""
    started = time.monotonic()
    job = client.fine_tuning.jobs.create(model=BASE, **request)
    while job.status not in ("succeeded", "failed", "cancelled"):
        time.sleep(1)
        job = client.fine_tuning.jobs.retrieve(job.id)
    wall = time.monotonic() - started
    if job.status != "succeeded":
        raise SystemExit(f"The job ended as {job.status}: {job.error}")
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=100))
    metrics = [e for e in reversed(events) if e.type == "metrics" and isinstance(e.data, dict)]
    curve = [(e.data["step"], round(e.data["train_loss"], 4)) for e in metrics]  # type: ignore[index]
    stride = max(1, len(curve) // 20)
    print_finding("loss curve", points=[*curve[::stride], curve[-1]])
    training_seconds = metrics[-1].created_at - metrics[0].created_at
    print_finding(
        "training",
        hyperparameters=job.hyperparameters.model_dump(),
        trained_tokens=job.trained_tokens,
        wall_seconds=round(wall, 1),
        tokens_per_second=round((job.trained_tokens or 0) / max(1, training_seconds), 1),
        tokens_per_wall_second=round((job.trained_tokens or 0) / wall, 1),
    )
    return job


def measure_job(
    client: OpenAI, request: dict[str, Any], valid: list[dict[str, Any]], clients: int
) -> float:
    """Train one job and measure each of its checkpoints. Returns the tuned model's accuracy."""
    job = train(client, **request)
    # The list is newest first, and the newest is the tuned model itself.
    for checkpoint in reversed(list(client.fine_tuning.jobs.checkpoints.list(job.id))):
        share = measure_and_print(client, checkpoint.fine_tuned_model_checkpoint, valid, clients)
    return share


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--valid", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1000, help="training rows to use")
    parser.add_argument("--validation-rows", type=int, default=0, help="rows to choose weights by")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--keep", choices=["best", "last"], nargs="+", default=["last"])
    parser.add_argument("--clients", type=int, default=8, help="concurrent requests")
    parser.add_argument("--url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--key-file", type=Path, default=Path(".luthier/api_key"))
    arguments = parser.parse_args()
    if "best" in arguments.keep and not arguments.validation_rows:
        parser.error("--keep best needs --validation-rows: it chooses by a validation file")
    return arguments


def main() -> None:
    arguments = read_arguments()
    key = arguments.key_file.read_text().strip()
    client = OpenAI(base_url=arguments.url, api_key=key, timeout=600)
    rows, chosen_by = arguments.rows, arguments.validation_rows
    lines = arguments.train.read_bytes().splitlines(keepends=True)[: rows + chosen_by]
    valid = [json.loads(line) for line in arguments.valid.read_text(encoding="utf-8").splitlines()]
    print_finding(
        "setting",
        date=time.strftime("%Y-%m-%d"),
        machine=f"{platform.machine()}, {platform.system()}",
        train_rows=len(lines[:rows]),
        validation_rows=len(lines[rows:]),
        valid_rows=len(valid),
    )
    files = {"training_file": upload(client, "train.jsonl", lines[:rows])}
    if chosen_by:
        files["validation_file"] = upload(client, "validation.jsonl", lines[rows:])
    base = measure_and_print(client, BASE, valid, arguments.clients)
    for seed, keep in itertools.product(arguments.seeds, arguments.keep):
        hyperparameters = {"n_epochs": arguments.epochs, "keep": keep}
        method = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
        tuned = measure_job(
            client, {**files, "seed": seed, "method": method}, valid, arguments.clients
        )
        points = round(100 * (tuned - base), 1)
        print_finding("gain", seed=seed, keep=keep, points=points, base=base, tuned=tuned)


if __name__ == "__main__":
    main()
