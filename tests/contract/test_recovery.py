"""Killed processes are restarted, and jobs and requests continue."""

import pytest
from openai import APIError, OpenAI
from openai.types.fine_tuning import FineTuningJob

from tests.contract.running_stack import BASE, Stack, wait_for_job
from tests.polling import wait_until

pytestmark = pytest.mark.live


def responds(client: OpenAI, model: str) -> bool:
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


def test_a_killed_engine_is_restarted_and_loads_adapters_again(
    stack: Stack, client: OpenAI, succeeded_job: FineTuningJob
) -> None:
    model = succeeded_job.fine_tuned_model
    assert model is not None
    assert responds(client, model)
    stack.find_child("worker.inference").kill()
    wait_until("the fine-tuned model responds again", lambda: responds(client, model))


def start_job(client: OpenAI, training_file: str) -> str:
    """Create a job that runs for some seconds, and wait until it is running; its id."""
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


def assert_succeeds_once(client: OpenAI, job_id: str) -> None:
    done = wait_for_job(client, job_id)
    assert done.status == "succeeded", done.error
    messages = [event.message for event in client.fine_tuning.jobs.list_events(job_id, limit=100)]
    assert messages.count("The job has successfully completed") == 1


def test_a_job_resumes_after_its_trainer_was_killed(
    stack: Stack, client: OpenAI, training_file: str
) -> None:
    job_id = start_job(client, training_file)
    stack.find_child("worker.main", "train").kill()
    assert_succeeds_once(client, job_id)


def test_a_paused_job_can_be_resumed(lenient_client: OpenAI, training_file: str) -> None:
    """Lenient, since the SDK's types lack the status that its own `pause` leads to."""
    job_id = start_job(lenient_client, training_file)
    lenient_client.fine_tuning.jobs.pause(job_id)
    wait_for_status(lenient_client, job_id, "paused")
    lenient_client.fine_tuning.jobs.resume(job_id)
    assert_succeeds_once(lenient_client, job_id)
