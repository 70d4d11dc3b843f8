"""Batches for tests: requests, and how they end."""

import json
from typing import Any

from openai import OpenAI
from openai.types import Batch

from tests.polling import wait_until

ENDED = ("completed", "failed", "expired", "cancelled")


def make_line(number: int, content: str = "hi", **changes: Any) -> dict[str, Any]:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": content}]}
    line = {
        "custom_id": f"request-{number}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body,
    }
    return line | changes


def to_jsonl(lines: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def create_batch(
    openai: OpenAI, content: bytes, endpoint: Any = "/v1/chat/completions", **options: Any
) -> Batch:
    file = openai.files.create(file=("requests.jsonl", content), purpose="batch")
    return openai.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h", **options
    )


def wait_for_end(openai: OpenAI, batch_id: str) -> Batch:
    wait_until("the batch has ended", lambda: openai.batches.retrieve(batch_id).status in ENDED)
    return openai.batches.retrieve(batch_id)


def read_lines(openai: OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    if file_id is None:
        return []
    return [json.loads(line) for line in openai.files.content(file_id).text.splitlines()]
