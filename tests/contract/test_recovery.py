"""What dies is started again, and the next request works."""

import pytest
from openai import APIError, OpenAI

from tests.contract.running_stack import BASE, Stack, wait_for_job
from tests.polling import wait_until

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


def running_job(client: OpenAI, training_file: str) -> str:
    """The id of a job that a trainer has begun, and that goes on for some seconds."""
    job = client.fine_tuning.jobs.create(
        model=BASE, training_file=training_file, hyperparameters={"n_epochs": 4, "batch_size": 6}
    )
    wait_for_status(client, job.id, "running")
    return job.id


def wait_for_status(client: OpenAI, job_id: str, status: str) -> None:
    wait_until(
        f"the job is {status}",
        lambda: client.fine_tuning.jobs.retrieve(job_id).status == status,
    )


def require_one_end(client: OpenAI, job_id: str) -> None:
    done = wait_for_job(client, job_id)
    assert done.status == "succeeded", done.error
    told = [event.message for event in client.fine_tuning.jobs.list_events(job_id, limit=100)]
    assert told.count("The job has successfully completed") == 1


def test_a_job_whose_trainer_was_killed_goes_on(
    stack: Stack, client: OpenAI, training_file: str
) -> None:
    job_id = running_job(client, training_file)
    stack.child("worker.main", "train").kill()
    require_one_end(client, job_id)


def test_a_job_that_was_paused_goes_on(loose: OpenAI, training_file: str) -> None:
    """Not strict: the SDK's types have no name for what its own `pause` leads to."""
    job_id = running_job(loose, training_file)
    loose.fine_tuning.jobs.pause(job_id)
    wait_for_status(loose, job_id, "paused")
    loose.fine_tuning.jobs.resume(job_id)
    require_one_end(loose, job_id)
