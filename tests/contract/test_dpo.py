"""DPO on the live stack, through the official SDK: from a base model and a fine-tuned one."""

import base64
import csv
import io
import json
import math

import pytest
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

from tests.contract.running_stack import BASE, ROWS, SYSTEM, wait_for_job

pytestmark = pytest.mark.live


def preference_file(rows: list[tuple[str, str]]) -> bytes:
    """A preference file that prefers the right desk over an excuse."""
    lines = []
    for user, assistant in rows:
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": user}]
        row = {
            "input": {"messages": messages},
            "preferred_output": [{"role": "assistant", "content": assistant}],
            "non_preferred_output": [{"role": "assistant", "content": "Sorry, I am not sure."}],
        }
        lines.append(json.dumps(row))
    return "\n".join(lines).encode()


@pytest.fixture(scope="module")
def jobs(client: OpenAI, succeeded_job: FineTuningJob) -> list[FineTuningJob]:
    """A job from the base model with two epochs of one step, and one from a fine-tuned model."""
    training, validation = (
        client.files.create(file=("pairs.jsonl", preference_file(rows)), purpose="fine-tune").id
        for rows in (ROWS[2:], ROWS[:2])
    )
    assert succeeded_job.fine_tuned_model is not None
    created = [
        client.fine_tuning.jobs.create(
            model=model,
            training_file=training,
            validation_file=validation,
            seed=1,
            method={
                "type": "dpo",
                "dpo": {
                    "hyperparameters": {
                        "beta": 0.1,
                        "n_epochs": epochs,
                        "batch_size": 10,
                        "learning_rate_multiplier": 3,
                    }
                },
            },
        )
        for model, epochs in ((BASE, 2), (succeeded_job.fine_tuned_model, 1))
    ]
    done = [wait_for_job(client, job.id) for job in created]
    assert [(job.status, job.error) for job in done] == [("succeeded", None)] * 2
    return done


def metrics_by_step(client: OpenAI, job: FineTuningJob) -> list[dict[str, float]]:
    """The metrics of each step, in order."""
    events = client.fine_tuning.jobs.list_events(job.id, limit=100).data
    return [e.data for e in reversed(events) if e.type == "metrics" and isinstance(e.data, dict)]


def test_the_job_shows_its_method(jobs: list[FineTuningJob]) -> None:
    method = jobs[0].method
    assert method is not None
    assert method.type == "dpo"
    assert method.dpo is not None
    assert method.dpo.hyperparameters is not None
    assert method.dpo.hyperparameters.beta == 0.1
    assert method.dpo.hyperparameters.n_epochs == 2


def test_events_have_loss_reward_margin_and_accuracy(
    client: OpenAI, jobs: list[FineTuningJob]
) -> None:
    first, last = metrics_by_step(client, jobs[0])
    assert first["train_loss"] == pytest.approx(math.log(2), abs=0.05), (
        "policy and reference are equal before the first step"
    )
    assert last["train_loss"] < first["train_loss"]
    assert last["train_reward_margin"] > first["train_reward_margin"]
    assert last["train_reward_accuracy"] > 0.5
    assert last["full_valid_loss"] < math.log(2)
    assert last["full_valid_reward_margin"] > 0
    assert 0 <= last["full_valid_reward_accuracy"] <= 1


def test_the_result_file_has_the_metrics_as_columns(
    client: OpenAI, jobs: list[FineTuningJob]
) -> None:
    (result,) = jobs[0].result_files
    text = base64.b64decode(client.files.content(result).read()).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    steps = metrics_by_step(client, jobs[0])
    for name in ("train_loss", "train_reward_margin", "train_reward_accuracy"):
        values = [float(row[name]) for row in rows]
        assert values == pytest.approx([step[name] for step in steps], abs=1e-4)


def test_the_reference_is_the_fine_tuned_model(
    client: OpenAI, jobs: list[FineTuningJob], succeeded_job: FineTuningJob
) -> None:
    _, job = jobs
    assert job.model == succeeded_job.fine_tuned_model
    (only,) = metrics_by_step(client, job)
    # The reference includes the adapter: under the base model these rows are much less likely.
    assert only["train_loss"] == pytest.approx(math.log(2), abs=0.05)


def test_both_models_chat(client: OpenAI, jobs: list[FineTuningJob]) -> None:
    for job in jobs:
        assert job.fine_tuned_model is not None
        answer = client.chat.completions.create(
            model=job.fine_tuned_model,
            messages=[
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": ROWS[0][0]},
            ],
            temperature=0,
            max_completion_tokens=12,
        )
        assert answer.choices[0].message.content
