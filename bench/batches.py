"""Batches: how long one takes on a tuned classifier, and what it costs live requests.

    python -m bench.batches [--lines 10000] [--live 40]

Starts a whole Luthier, tunes a small classifier, and answers a file of chats by it. Then live chats
to the causal base model are timed without and beside a batch to the same model.
"""

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable, Iterator

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=10_000)
    parser.add_argument("--live", type=int, default=40)
    options = parser.parse_args()
    with run_stack() as stack:
        client = OpenAI(base_url=f"{stack.url}/v1", api_key=stack.make_project("bench"))
        model = tune_classifier(client)
        measure_bulk(client, "tuned classifier, chats", options.lines, model)
        measure_bulk(client, "encoder, embeddings", options.lines, ENCODER, "/v1/embeddings")
        measure_live(client, options.live)


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


def measure_live(client: OpenAI, count: int) -> None:
    """Time live chats without and beside a batch to the same model."""
    alone = list(time_chats(client, count))
    batch_id = start_batch(client, 20_000, "/v1/chat/completions", make_chat)
    while count_answers(client, batch_id) == 0:
        time.sleep(POLL_SECONDS)
    beside = list(time_chats(client, count))
    answered = count_answers(client, batch_id)
    client.batches.cancel(batch_id)
    first, second = (statistics.quantiles(times, n=20)[-1] for times in (alone, beside))
    print(
        f"live chats of {MAX_TOKENS} tokens, p50 and p95: {statistics.median(alone):.2f} and "
        f"{first:.2f} s alone, {statistics.median(beside):.2f} and {second:.2f} s beside a batch: "
        f"p95 x {second / first:.2f}; {answered} requests of the batch were answered meanwhile"
    )


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
