"""Batches: how long one takes on a tuned classifier, and what it costs live requests.

    python -m bench.batches [--lines 10000] [--live 40] [--rounds 5]

Starts a whole Luthier, tunes a small classifier, and answers a file of chats by it; not with
`--lines 0`. Then live chats to the causal base model are timed in rounds: without and beside a
batch to the same model, in turns that begin with the other side each time, so that other work of
the machine slows both. The result is the ratio of the two sides' 95th percentiles in a round: the
median of the rounds, and the smallest and largest.
"""

import argparse
import io
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from openai import OpenAI
from openai.types import Batch

from bench.stack import run_stack

CHAT_MODEL = "smollm2-135m-instruct"
ENCODER = "all-minilm-l6-v2"
TEXTS = {
    "shipping": ("My parcel is late", "Where is my package", "The courier lost my box"),
    "billing": ("You charged me twice", "I need an invoice", "My card was billed wrongly"),
    "account": ("I cannot log in", "Reset my password", "Change my e-mail address"),
}
POLL_SECONDS = 1.0
ENDED = ("completed", "failed", "expired", "cancelled")
MAX_TOKENS = 24
# More than are answered while the chats are timed.
LIVE_BATCH_LINES = 5_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=10_000)
    parser.add_argument("--live", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with run_stack() as stack:
        client = OpenAI(base_url=f"{stack.url}/v1", api_key=stack.make_project("bench"))
        if options.lines:
            model = tune_classifier(client)
            measure_bulk(client, "tuned classifier, chats", options.lines, model)
            measure_bulk(client, "encoder, embeddings", options.lines, ENCODER, "/v1/embeddings")
        measure_live(client, options.live, options.rounds)


def tune_classifier(client: OpenAI) -> str:
    rows = [
        json.dumps({"text": f"{text} {number}", "label": label})
        for label, texts in TEXTS.items()
        for text in texts
        for number in range(4)
    ]
    training = client.files.create(
        file=("train.jsonl", "\n".join(rows).encode()), purpose="fine-tune"
    )
    job = client.fine_tuning.jobs.create(
        model=ENCODER,
        training_file=training.id,
        extra_body={"method": {"type": "classification"}},
    )
    while job.status not in ("succeeded", "failed", "cancelled"):
        time.sleep(POLL_SECONDS)
        job = client.fine_tuning.jobs.retrieve(job.id)
    assert job.fine_tuned_model is not None, job.error
    return job.fine_tuned_model


def measure_bulk(
    client: OpenAI, name: str, count: int, model: str, endpoint: str = "/v1/chat/completions"
) -> None:
    texts = [text for texts in TEXTS.values() for text in texts]

    def make_body(number: int) -> dict[str, object]:
        text = f"{texts[number % len(texts)]}, order {number}"
        if endpoint == "/v1/embeddings":
            return {"model": model, "input": text}
        return {"model": model, "messages": [{"role": "user", "content": text}]}

    began = time.monotonic()
    batch = wait_for_end(client, start_batch(client, count, endpoint, make_body))
    seconds = time.monotonic() - began
    assert batch.request_counts is not None
    assert batch.request_counts.completed == count, batch
    print(f"{name}: {count} lines in {seconds / 60:.1f} min, {count / seconds:.0f} per second")


def measure_live(client: OpenAI, count: int, rounds: int) -> None:
    """Time live chats without and beside a batch to the same model, in interleaved rounds."""
    list(time_chats(client, count))  # the first are slower
    measured = []
    for number in range(rounds):
        round_ = LiveRound()
        sides = [round_.measure_alone, round_.measure_beside]
        for measure in sides if number % 2 == 0 else reversed(sides):
            measure(client, count)
        print(round_.describe(), flush=True)
        measured.append(round_.ratio)
    print(
        f"live chats of {MAX_TOKENS} tokens, {rounds} rounds of {count}: p95 beside a batch is "
        f"{statistics.median(measured):.2f} ({min(measured):.2f} to {max(measured):.2f}) times "
        f"that alone; load of the machine {os.getloadavg()[1]:.1f}"
    )


@dataclass
class LiveRound:
    """Seconds of live chats without and beside a batch, and the batch's answers meanwhile."""

    alone: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    answered: int = 0

    def measure_alone(self, client: OpenAI, count: int) -> None:
        self.alone = list(time_chats(client, count))

    def measure_beside(self, client: OpenAI, count: int) -> None:
        batch_id = start_batch(client, LIVE_BATCH_LINES, "/v1/chat/completions", make_chat)
        while (before := count_answers(client, batch_id)) == 0:
            time.sleep(POLL_SECONDS)
        self.beside = list(time_chats(client, count))
        self.answered = count_answers(client, batch_id) - before
        batch = client.batches.cancel(batch_id)
        assert batch.status == "cancelling", f"the batch ended before the chats: {batch}"
        wait_for_end(client, batch_id)

    @property
    def ratio(self) -> float:
        return compute_p95(self.beside) / compute_p95(self.alone)

    def describe(self) -> str:
        return (
            f"p50 and p95 alone {statistics.median(self.alone):.2f} and "
            f"{compute_p95(self.alone):.2f} s, beside a batch {statistics.median(self.beside):.2f} "
            f"and {compute_p95(self.beside):.2f} s: p95 x {self.ratio:.2f}; {self.answered} of the "
            "batch were answered meanwhile"
        )


def compute_p95(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=20)[-1]


def count_answers(client: OpenAI, batch_id: str) -> int:
    counts = client.batches.retrieve(batch_id).request_counts
    return counts.completed if counts is not None else 0


def time_chats(client: OpenAI, count: int) -> Iterator[float]:
    for number in range(count):
        began = time.monotonic()
        client.chat.completions.create(**make_chat(number))  # type: ignore[call-overload]
        yield time.monotonic() - began


def make_chat(number: int) -> dict[str, object]:
    return {
        "model": CHAT_MODEL,
        "messages": [{"role": "user", "content": f"Write a sentence about the number {number}."}],
        "max_completion_tokens": MAX_TOKENS,
        "temperature": 0,
    }


def start_batch(
    client: OpenAI, count: int, endpoint: str, make_body: Callable[[int], dict[str, object]]
) -> str:
    content = io.BytesIO()
    for number in range(count):
        line = {
            "custom_id": str(number),
            "method": "POST",
            "url": endpoint,
            "body": make_body(number),
        }
        content.write(json.dumps(line).encode() + b"\n")
    file = client.files.create(file=("requests.jsonl", content.getvalue()), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id,
        endpoint=endpoint,  # type: ignore[arg-type]
        completion_window="24h",
    )
    return batch.id


def wait_for_end(client: OpenAI, batch_id: str) -> Batch:
    while (batch := client.batches.retrieve(batch_id)).status not in ENDED:
        time.sleep(POLL_SECONDS)
    return batch


if __name__ == "__main__":
    main()
