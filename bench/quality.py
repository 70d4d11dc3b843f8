"""Does tuning help? Exact match of the base and the tuned model, through a running service.

    python bench/quality.py --train FILE --valid FILE [--rows 1000] [--epochs 2]

Both files are in the chat format; each validation row's last message is the expected answer. The
job is an ordinary one: everything but the number of passes is left to "auto". Prints one JSON line
per finding: accuracy of the base model, of the checkpoint after each pass, and of the tuned model;
the loss curve; wall time; tokens per second of training.
"""

import argparse
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
    """Share of rows whose greedy answer equals the expected one, spaces at the ends aside."""

    def right(row: dict[str, Any]) -> bool:
        *asked, expected = row["messages"]
        completion = client.chat.completions.create(
            model=model, messages=asked, temperature=0, max_completion_tokens=32
        )
        return (completion.choices[0].message.content or "").strip() == expected["content"].strip()

    with ThreadPoolExecutor(clients) as pool:
        return sum(pool.map(right, rows)) / len(rows)


def measure_and_print(
    client: OpenAI, model: str, rows: list[dict[str, Any]], clients: int
) -> float:
    began = time.monotonic()
    share = measure_accuracy(client, model, rows, clients)
    print_finding(
        "accuracy",
        model=model,
        rows=len(rows),
        exact_match=round(share, 4),
        seconds=round(time.monotonic() - began, 1),
        clients=clients,
    )
    return share


def train(client: OpenAI, data: bytes, epochs: int) -> FineTuningJob:
    """Run one job to its end. Raises SystemExit with the job's error if it does not succeed."""
    file = client.files.create(file=("train.jsonl", data), purpose="fine-tune")
    began = time.monotonic()
    job = client.fine_tuning.jobs.create(
        model=BASE, training_file=file.id, seed=0, hyperparameters={"n_epochs": epochs}
    )
    while job.status not in ("succeeded", "failed", "cancelled"):
        time.sleep(1)
        job = client.fine_tuning.jobs.retrieve(job.id)
    wall = time.monotonic() - began
    if job.status != "succeeded":
        raise SystemExit(f"The job ended as {job.status}: {job.error}")
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=100))
    metrics = [e for e in reversed(events) if e.type == "metrics" and isinstance(e.data, dict)]
    curve = [(e.data["step"], round(e.data["train_loss"], 4)) for e in metrics]  # type: ignore[index]
    keep = max(1, len(curve) // 20)
    print_finding("loss curve", points=[*curve[::keep], curve[-1]])
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--valid", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1000, help="training rows to use")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--clients", type=int, default=8, help="questions asked at a time")
    parser.add_argument("--url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--key-file", type=Path, default=Path(".luthier/api_key"))
    given = parser.parse_args()
    key = given.key_file.read_text().strip()
    client = OpenAI(base_url=given.url, api_key=key, timeout=600)
    lines = given.train.read_bytes().splitlines(keepends=True)[: given.rows]
    valid = [json.loads(line) for line in given.valid.read_text(encoding="utf-8").splitlines()]
    print_finding(
        "setting",
        date=time.strftime("%Y-%m-%d"),
        machine=f"{platform.machine()}, {platform.system()}",
        train_rows=len(lines),
        valid_rows=len(valid),
    )
    base = measure_and_print(client, BASE, valid, given.clients)
    job = train(client, b"".join(lines), given.epochs)
    # Newest first; the newest is the tuned model itself.
    for checkpoint in reversed(list(client.fine_tuning.jobs.checkpoints.list(job.id))):
        share = measure_and_print(
            client, checkpoint.fine_tuned_model_checkpoint, valid, given.clients
        )
    print_finding("gain", points=round(100 * (share - base), 1), base=base, tuned=share)


if __name__ == "__main__":
    main()
