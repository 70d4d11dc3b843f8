"""Distillation on the live stack, as in OpenAI's cookbook: a teacher's answers are stored with a
schema, made into a file, and a student is trained on it."""

import json
from typing import Any

import pytest
from openai import OpenAI
from openai.types import FileObject
from openai.types.fine_tuning import FineTuningJob

from tests.contract.running_stack import BASE, ROWS, SYSTEM, wait_for_job

pytestmark = pytest.mark.live

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "desk": {"type": "string", "enum": ["shipping", "billing", "safety", "account"]},
        "urgency": {"type": "string", "enum": ["low", "high"]},
    },
    "required": ["desk", "urgency"],
    "additionalProperties": False,
}
RESPONSE_FORMAT: Any = {
    "type": "json_schema",
    "json_schema": {"name": "ticket", "strict": True, "schema": SCHEMA},
}
METADATA = {"purpose": "distillation"}


def ask(client: OpenAI, model: str, text: str, *, store: bool) -> Any:
    return client.chat.completions.create(
        model=model,
        messages=[{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}],
        response_format=RESPONSE_FORMAT,
        max_tokens=60,
        temperature=0,
        store=store,
        **({"metadata": METADATA} if store else {}),
    )


def make_file(client: OpenAI, **body: Any) -> FileObject:
    return client.post("/files/from_stored_completions", cast_to=FileObject, body=body)


@pytest.fixture(scope="module")
def teacher(client: OpenAI, succeeded_job: FineTuningJob) -> str:
    """A tuned model that has answered each question, with its answers stored."""
    name = succeeded_job.fine_tuned_model
    assert name is not None
    for text, _ in ROWS:
        ask(client, name, text, store=True)
    return name


def test_teacher_to_student(client: OpenAI, lenient_client: OpenAI, teacher: str) -> None:
    stored = list(client.chat.completions.list(model=teacher, metadata=METADATA))
    assert len(stored) == len(ROWS)
    file = make_file(lenient_client, model=teacher, metadata=METADATA)
    assert (file.purpose, file.status) == ("fine-tune", "processed")
    rows = [json.loads(line) for line in client.files.content(file.id).text.splitlines()]
    answers = [each.choices[0].message.content for each in reversed(stored)]
    assert [row["messages"][-1]["content"] for row in rows] == answers
    assert all(row["response_format"] == RESPONSE_FORMAT for row in rows)
    job = client.fine_tuning.jobs.create(
        model=BASE,
        training_file=file.id,
        suffix="student",
        seed=7,
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 1, "batch_size": 6}},
        },
    )
    done = wait_for_job(client, job.id)
    assert done.status == "succeeded", done.error
    assert done.fine_tuned_model is not None
    answer = ask(client, done.fine_tuned_model, ROWS[0][0], store=False)
    assert set(json.loads(answer.choices[0].message.content)) == {"desk", "urgency"}


def test_corrections_are_preferred(client: OpenAI, lenient_client: OpenAI, teacher: str) -> None:
    """Each answer is corrected; the pairs train by DPO."""
    stored = list(client.chat.completions.list(model=teacher, metadata=METADATA))
    right = '{"desk": "shipping", "urgency": "low"} '
    items = [
        {"id": each.id, "rating": "bad", "correction": f"{right}{number}"}
        for number, each in enumerate(stored)
    ]
    body = {"feedback": items}
    lenient_client.post(f"/models/{teacher}/feedback", cast_to=object, body=body)
    file = make_file(lenient_client, model=teacher, feedback="preference")
    job = client.fine_tuning.jobs.create(
        model=BASE,
        training_file=file.id,
        method={
            "type": "dpo",
            "dpo": {"hyperparameters": {"n_epochs": 1, "batch_size": 12, "beta": 0.1}},
        },
    )
    done = wait_for_job(client, job.id)
    assert done.status == "succeeded", done.error
