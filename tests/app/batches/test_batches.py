"""Batches end to end: the official SDK, the live API, and the runner beside it."""

from openai import OpenAI

from app.work.runner import WorkRunner
from tests.app.batches.conftest import (
    create_batch,
    make_line,
    read_lines,
    to_jsonl,
    wait_for_end,
)


def test_answers_each_request_in_the_order_of_the_input(openai: OpenAI, runner: WorkRunner) -> None:
    created = create_batch(
        openai, to_jsonl([make_line(number) for number in range(10)]), metadata={"night": "1"}
    )
    assert created.status == "validating"
    batch = wait_for_end(openai, created.id)
    assert batch.status == "completed", batch.errors
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 10, "completed": 10, "failed": 0}
    assert batch.error_file_id is None
    lines = read_lines(openai, batch.output_file_id)
    assert [line["custom_id"] for line in lines] == [f"request-{n}" for n in range(10)]
    assert all(line["response"]["status_code"] == 200 for line in lines)
    assert lines[0]["response"]["body"]["choices"][0]["message"]["content"] == "Hello"
    assert batch.usage is not None
    assert (batch.usage.input_tokens, batch.usage.output_tokens) == (10, 10)
    assert batch.metadata == {"night": "1"}
