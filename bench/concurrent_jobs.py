"""Small jobs per hour, by the number of jobs that a trainer runs at once.

    python -m bench.concurrent_jobs [--jobs 8] [--rounds 2] [--at-once 1 2] [--folder FOLDER]

Starts a whole Luthier for each number and round, in turn, on one home. A trainer that runs several
jobs divides the cores among them; their processes are forked from one that has loaded the base
model, and share its memory. Each round posts all jobs together and waits for the last. Prints the
jobs per hour of each round, and the ratios to the first number.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openai import OpenAI

from bench.stack import Stack, run_stack_in
from bench.start import CHAT_MODEL, EXAMPLES, SETTLE_SECONDS

CHATS = 48
ENDED = ("succeeded", "failed", "cancelled")
METHOD = {
    "type": "supervised",
    "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 4}},
}
POLL_SECONDS = 0.2


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--folder", type=Path, help="folder of the home, which is kept")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="luthier-bench-") as temporary:
        folder = options.folder or Path(temporary)
        # For root, Postgres runs as another user.
        folder.chmod(0o711)
        rates: dict[int, list[float]] = {number: [] for number in options.at_once}
        for _ in range(options.rounds):
            for number in options.at_once:
                with run_stack_in(folder, LUTHIER_TRAINER_CONCURRENCY=str(number)) as stack:
                    time.sleep(SETTLE_SECONDS)
                    seconds = time_jobs(stack, options.jobs)
                rates[number].append(3600 * options.jobs / seconds)
                print(
                    f"{number} at once: {options.jobs} jobs in {seconds:.1f} s, "
                    f"{rates[number][-1]:.0f} per hour; load {os.getloadavg()[0]:.1f}",
                    flush=True,
                )
    for number in options.at_once[1:]:
        ratios = [a / b for a, b in zip(rates[number], rates[options.at_once[0]], strict=True)]
        print(
            f"{number} at once against {options.at_once[0]}: "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def time_jobs(stack: Stack, count: int) -> float:
    """Run jobs after one that loads the model; return the seconds until all have succeeded."""
    client = OpenAI(base_url=f"{stack.url}/v1", api_key=stack.make_project("bench"))
    chats = b"".join((EXAMPLES / "workshop.train.jsonl").open("rb").readlines()[:CHATS])
    file = client.files.create(file=("train.jsonl", chats), purpose="fine-tune")
    wait_for(client, [post_job(client, file.id)])
    began = time.monotonic()
    wait_for(client, [post_job(client, file.id) for _ in range(count)])
    return time.monotonic() - began


def post_job(client: OpenAI, file_id: str) -> str:
    body = {"model": CHAT_MODEL, "training_file": file_id, "method": METHOD}
    job: dict[str, Any] = client.post("/fine_tuning/jobs", body=body, cast_to=dict[str, Any])
    return str(job["id"])


def wait_for(client: OpenAI, job_ids: Sequence[str]) -> None:
    waiting = list(job_ids)
    while waiting:
        status = client.fine_tuning.jobs.retrieve(waiting[0]).status
        if status in ENDED:
            assert status == "succeeded", (waiting[0], status)
            waiting.pop(0)
        else:
            time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main()
