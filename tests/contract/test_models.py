"""Base and fine-tuned models on the live stack."""

from urllib.parse import quote

import pytest
from openai import APIStatusError, NotFoundError, OpenAI
from openai.types.fine_tuning import FineTuningJob

from tests.contract.running_stack import BASE, SYSTEM, Stack, wait_for_job

pytestmark = pytest.mark.live


def chat(client: OpenAI, model: str) -> str:
    """The greedy completion of a prompt from the training file."""
    completion = client.chat.completions.create(
        model=model,
        messages=[
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": "You charged me twice this month!"},
        ],
        temperature=0,
        max_completion_tokens=24,
    )
    return completion.choices[0].message.content or ""


def test_the_list_contains_base_and_fine_tuned_models(
    client: OpenAI, succeeded_job: FineTuningJob
) -> None:
    models = {model.id: model for model in client.models.list()}
    assert models[BASE].owned_by == "system"
    assert "all-minilm-l6-v2" in models
    assert succeeded_job.fine_tuned_model is not None
    assert models[succeeded_job.fine_tuned_model].owned_by == "luthier"


def test_retrieve_a_percent_encoded_name(stack: Stack, succeeded_job: FineTuningJob) -> None:
    assert succeeded_job.fine_tuned_model is not None
    with stack.http() as http:
        response = http.get(f"/v1/models/{quote(succeeded_job.fine_tuned_model, safe='')}")
    assert response.status_code == 200
    assert response.json()["id"] == succeeded_job.fine_tuned_model


def test_base_fine_tuned_model_and_checkpoints_chat(
    client: OpenAI, succeeded_job: FineTuningJob
) -> None:
    names = [
        checkpoint.fine_tuned_model_checkpoint
        for checkpoint in client.fine_tuning.jobs.checkpoints.list(succeeded_job.id)
    ]
    answers = {name: chat(client, name) for name in [BASE, *names]}
    assert all(answers.values()), answers
    assert answers[names[0]] != answers[BASE], "fine-tuning changed nothing"


def test_a_deleted_model_is_not_found_and_its_job_stays(client: OpenAI, training_file: str) -> None:
    job = client.fine_tuning.jobs.create(
        model=BASE, training_file=training_file, hyperparameters={"n_epochs": 1, "batch_size": 12}
    )
    name = wait_for_job(client, job.id).fine_tuned_model
    assert name is not None
    assert client.models.delete(name).deleted
    with pytest.raises(NotFoundError):
        client.models.retrieve(name)
    with pytest.raises(NotFoundError) as raised:
        chat(client, name)
    assert raised.value.code == "model_not_found"
    with pytest.raises(NotFoundError):
        client.models.delete(name)
    assert client.fine_tuning.jobs.retrieve(job.id).fine_tuned_model == name


def test_a_base_model_cannot_be_deleted(client: OpenAI) -> None:
    with pytest.raises(APIStatusError) as raised:
        client.models.delete(BASE)
    assert raised.value.status_code in (400, 403)
    assert client.models.retrieve(BASE).id == BASE
