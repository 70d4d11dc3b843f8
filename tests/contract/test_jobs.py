"""Fine-tuning jobs on the live stack, through the official SDK."""

import base64
import csv
import io

import pytest
from openai import BadRequestError, NotFoundError, OpenAI
from openai.types.fine_tuning import FineTuningJob

from tests.contract.running_stack import BASE, ROWS, Stack, chat_file, wait_for_job
from tests.polling import wait_until

pytestmark = pytest.mark.live


class TestSucceeded:
    def test_the_job_shows_what_it_did(self, tuned: FineTuningJob, training_file: str) -> None:
        assert tuned.model == BASE
        assert tuned.training_file == training_file
        assert tuned.seed == 7
        assert tuned.metadata == {"team": "desk"}
        assert tuned.error is None
        assert tuned.estimated_finish is None
        assert tuned.finished_at is not None
        assert tuned.finished_at >= tuned.created_at
        assert tuned.trained_tokens is not None
        assert tuned.trained_tokens % 3 == 0, "three passes over the same tokens"
        assert tuned.fine_tuned_model is not None
        assert tuned.fine_tuned_model.startswith(f"ft:{BASE}:luthier:front-desk:")

    def test_auto_has_become_numbers(self, tuned: FineTuningJob) -> None:
        assert tuned.hyperparameters.n_epochs == 3
        assert tuned.hyperparameters.batch_size == 6
        assert isinstance(tuned.hyperparameters.learning_rate_multiplier, float)
        assert tuned.method is not None
        assert tuned.method.supervised is not None
        assert tuned.method.supervised.hyperparameters is not None
        assert tuned.method.supervised.hyperparameters.n_epochs == 3

    def test_events_tell_the_story_in_openais_words(
        self, client: OpenAI, tuned: FineTuningJob, training_file: str, validation_file: str
    ) -> None:
        events = list(client.fine_tuning.jobs.list_events(tuned.id, limit=4))
        assert len({event.id for event in events}) == len(events)
        told = [event.message for event in reversed(events)]
        assert told[0] == f"Created fine-tuning job: {tuned.id}"
        assert told[1] == (
            f"Validating training file: {training_file} and validation file: {validation_file}"
        )
        assert told[2] == "Files validated, moving job to queued state"
        assert told[3] == "Fine-tuning job started"
        assert told[-2] == f"New fine-tuned model created: {tuned.fine_tuned_model}"
        assert told[-1] == "The job has successfully completed"
        metrics = [event for event in reversed(events) if event.type == "metrics"]
        assert [event.data["step"] for event in metrics if isinstance(event.data, dict)] == [
            1, 2, 3, 4, 5, 6,
        ]  # fmt: skip
        first, last = metrics[0].data, metrics[-1].data
        assert isinstance(first, dict)
        assert isinstance(last, dict)
        assert metrics[0].message.startswith("Step 1/6: training loss=")
        assert last["total_steps"] == 6
        assert last["train_loss"] < first["train_loss"]
        assert 0 <= last["full_valid_mean_token_accuracy"] <= 1
        assert last["full_valid_loss"] > 0

    def test_checkpoints_are_newest_first_and_the_last_is_the_model(
        self, client: OpenAI, tuned: FineTuningJob
    ) -> None:
        found = list(client.fine_tuning.jobs.checkpoints.list(tuned.id, limit=2))
        assert [checkpoint.step_number for checkpoint in found] == [6, 4, 2]
        assert found[0].fine_tuned_model_checkpoint == tuned.fine_tuned_model
        for checkpoint in found[1:]:
            name = checkpoint.fine_tuned_model_checkpoint
            assert name.endswith(f":ckpt-step-{checkpoint.step_number}")
        assert found[0].metrics.full_valid_loss is not None

    def test_the_result_file_is_base64_of_the_metrics(
        self, client: OpenAI, tuned: FineTuningJob
    ) -> None:
        (result,) = tuned.result_files
        assert client.files.retrieve(result).purpose == "fine-tune-results"
        text = base64.b64decode(client.files.content(result).read()).decode()
        rows = list(csv.DictReader(io.StringIO(text)))
        assert list(rows[0]) == [
            "step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy",
        ]  # fmt: skip
        assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]
        assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])

    def test_the_same_job_twice_gives_the_same_losses(
        self, client: OpenAI, tuned: FineTuningJob, training_file: str
    ) -> None:
        again = client.fine_tuning.jobs.create(
            model=BASE,
            training_file=training_file,
            seed=7,
            hyperparameters={"n_epochs": 3, "batch_size": 6},
        )
        done = wait_for_job(client, again.id)
        assert done.status == "succeeded", done.error
        losses = [
            [
                event.data["train_loss"]
                for event in client.fine_tuning.jobs.list_events(job.id, limit=100)
                if event.type == "metrics" and isinstance(event.data, dict)
            ]
            for job in (tuned, done)
        ]
        assert losses[0] == losses[1]


class TestList:
    def test_pages_reach_every_job_once_newest_first(
        self, client: OpenAI, tuned: FineTuningJob, stack: Stack
    ) -> None:
        # As users have it, not strict: encoders' jobs, whose methods the SDK's types do not list,
        # may be among them.
        lenient = OpenAI(base_url=f"{stack.url}/v1", api_key=stack.key, max_retries=0)
        ids = [job.id for job in lenient.fine_tuning.jobs.list(limit=1)]
        assert len(set(ids)) == len(ids)
        assert tuned.id in ids

    def test_metadata_filters(self, client: OpenAI, tuned: FineTuningJob) -> None:
        with_team = [job.id for job in client.fine_tuning.jobs.list(metadata={"team": "desk"})]
        assert with_team == [tuned.id]
        assert [job.id for job in client.fine_tuning.jobs.list(metadata={"team": "x"})] == []


class TestContinued:
    def test_a_tuned_model_is_a_start(
        self, client: OpenAI, tuned: FineTuningJob, training_file: str
    ) -> None:
        assert tuned.fine_tuned_model is not None
        job = client.fine_tuning.jobs.create(
            model=tuned.fine_tuned_model,
            training_file=training_file,
            hyperparameters={"n_epochs": 1, "batch_size": 6},
        )
        done = wait_for_job(client, job.id)
        assert done.status == "succeeded", done.error
        events = client.fine_tuning.jobs.list_events(job.id, limit=100)
        losses = {
            int(event.data["step"]): float(event.data["train_loss"])
            for event in events
            if event.type == "metrics" and isinstance(event.data, dict)
        }
        fresh = {
            int(event.data["step"]): float(event.data["train_loss"])
            for event in client.fine_tuning.jobs.list_events(tuned.id, limit=100)
            if event.type == "metrics" and isinstance(event.data, dict)
        }
        assert losses[1] < fresh[1], "it starts where the first job ended"


class TestCancelled:
    def test_a_running_job_is_cancelled_and_frees_the_trainer(
        self, client: OpenAI, training_file: str
    ) -> None:
        job = client.fine_tuning.jobs.create(
            model=BASE, training_file=training_file, hyperparameters={"n_epochs": 50}
        )
        wait_until(
            "the job is running",
            lambda: client.fine_tuning.jobs.retrieve(job.id).status == "running",
        )
        cancelled = client.fine_tuning.jobs.cancel(job.id)
        assert cancelled.status == "cancelled"
        assert client.fine_tuning.jobs.cancel(job.id) == cancelled, "repeated, it changes nothing"
        # The one slot is free again: another job gets it and ends.
        other = client.fine_tuning.jobs.create(
            model=BASE,
            training_file=training_file,
            hyperparameters={"n_epochs": 1, "batch_size": 12},
        )
        assert wait_for_job(client, other.id).status == "succeeded"
        assert client.fine_tuning.jobs.retrieve(job.id).status == "cancelled"


class TestRefused:
    def test_cancelling_what_has_succeeded(self, client: OpenAI, tuned: FineTuningJob) -> None:
        with pytest.raises(BadRequestError) as raised:
            client.fine_tuning.jobs.cancel(tuned.id)
        assert "succeeded" in raised.value.message

    def test_unknown_training_file(self, client: OpenAI) -> None:
        with pytest.raises(BadRequestError) as raised:
            client.fine_tuning.jobs.create(model=BASE, training_file="file-unknown")
        assert raised.value.param == "training_file"

    def test_a_file_of_another_purpose(self, client: OpenAI) -> None:
        other = client.files.create(file=("a.jsonl", chat_file(ROWS)), purpose="assistants")
        with pytest.raises(BadRequestError) as raised:
            client.fine_tuning.jobs.create(model=BASE, training_file=other.id)
        assert raised.value.param == "training_file"

    def test_unknown_model(self, client: OpenAI, training_file: str) -> None:
        with pytest.raises(BadRequestError) as raised:
            client.fine_tuning.jobs.create(model="gpt-9", training_file=training_file)
        assert raised.value.code == "model_not_available"

    @pytest.mark.parametrize(
        ("hyperparameters", "param"),
        [
            ({"n_epochs": 0}, "n_epochs"),
            ({"n_epochs": 51}, "n_epochs"),
            ({"batch_size": 257}, "batch_size"),
            ({"learning_rate_multiplier": 0}, "learning_rate_multiplier"),
            ({"n_epochs": "many"}, "n_epochs"),
        ],
    )
    def test_hyperparameters_out_of_bounds(
        self, client: OpenAI, training_file: str, hyperparameters: dict[str, int], param: str
    ) -> None:
        with pytest.raises(BadRequestError) as raised:
            client.fine_tuning.jobs.create(
                model=BASE,
                training_file=training_file,
                hyperparameters=hyperparameters,  # type: ignore[arg-type]
            )
        assert param in str(raised.value.param)

    def test_unknown_job(self, client: OpenAI) -> None:
        with pytest.raises(NotFoundError) as raised:
            client.fine_tuning.jobs.retrieve("ftjob-unknown")
        assert raised.value.code == "fine_tune_not_found"
        assert raised.value.param == "fine_tune_id"

    def test_too_few_examples_fail_the_job_with_a_reason(self, client: OpenAI) -> None:
        short = client.files.create(file=("short.jsonl", chat_file(ROWS[:3])), purpose="fine-tune")
        job = client.fine_tuning.jobs.create(model=BASE, training_file=short.id)
        failed = wait_for_job(client, job.id)
        assert failed.status == "failed"
        assert failed.error is not None
        assert failed.error.code == "invalid_n_examples"
        assert failed.error.param == "training_file"
        assert failed.error.message == (
            "Training file has 3 example(s), but must have at least 10 examples"
        )
