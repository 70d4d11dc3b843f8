"""What dies is started again, and the next request works."""

import pytest
from openai import APIError, OpenAI

from tests.contract.live import BASE, Stack, wait_for_job, wait_until

pytestmark = pytest.mark.live


def answers(client: OpenAI, model: str) -> bool:
    try:
        completion = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "Say hello."}],
            max_completion_tokens=4,
            temperature=0,
        )
    except APIError:
        return False
    return bool(completion.choices[0].message.content)


def test_a_killed_engine_comes_back_with_its_adapters(
    stack: Stack, client: OpenAI, tuned: object
) -> None:
    model = tuned.fine_tuned_model  # type: ignore[attr-defined]
    assert answers(client, model)
    stack.child("worker.inference").kill()
    wait_until("the tuned model answers again", lambda: answers(client, model))


def test_a_job_whose_trainer_was_killed_goes_on(
    stack: Stack, client: OpenAI, training_file: str
) -> None:
    job = client.fine_tuning.jobs.create(
        model=BASE, training_file=training_file, hyperparameters={"n_epochs": 4, "batch_size": 6}
    )
    wait_until(
        "the job is running",
        lambda: client.fine_tuning.jobs.retrieve(job.id).status == "running",
    )
    stack.child("worker.main", "train").kill()
    done = wait_for_job(client, job.id, seconds=240)
    assert done.status == "succeeded", done.error
    succeeded = [
        event.message
        for event in client.fine_tuning.jobs.list_events(job.id, limit=100)
        if event.message == "The job has successfully completed"
    ]
    assert len(succeeded) == 1
