"""Fine-tuning jobs on the live stack, through the official SDK."""

import base64
import csv
import io

import pytest
from openai import BadRequestError, NotFoundError, OpenAI
from openai.types.fine_tuning import FineTuningJob

from tests.contract.running_stack import BASE, ROWS, chat_file, wait_for_job
from tests.polling import wait_until

pytestmark = pytest.mark.live


class TestSucceededJob:
    def test_fields_of_a_succeeded_job(
        self, succeeded_job: FineTuningJob, training_file: str
    ) -> None:
        assert succeeded_job.model == BASE
        assert succeeded_job.training_file == training_file
        assert succeeded_job.seed == 7
        assert succeeded_job.metadata == {"team": "desk"}
        assert succeeded_job.error is None
        assert succeeded_job.estimated_finish is None
        assert succeeded_job.finished_at is not None
        assert succeeded_job.finished_at >= succeeded_job.created_at
        assert succeeded_job.trained_tokens is not None
        assert succeeded_job.trained_tokens % 3 == 0, "three epochs over the same tokens"
        assert succeeded_job.fine_tuned_model is not None
        assert succeeded_job.fine_tuned_model.startswith(f"ft:{BASE}:luthier:front-desk:")

    def test_auto_hyperparameters_are_resolved(self, succeeded_job: FineTuningJob) -> None:
        assert succeeded_job.hyperparameters.n_epochs == 3
        assert succeeded_job.hyperparameters.batch_size == 6
        assert isinstance(succeeded_job.hyperparameters.learning_rate_multiplier, float)
        assert succeeded_job.method is not None
        assert succeeded_job.method.supervised is not None
        assert succeeded_job.method.supervised.hyperparameters is not None
        assert succeeded_job.method.supervised.hyperparameters.n_epochs == 3

    def test_events_have_openais_texts(
        self, client: OpenAI, succeeded_job: FineTuningJob, training_file: str, validation_file: str
    ) -> None:
        events = list(client.fine_tuning.jobs.list_events(succeeded_job.id, limit=4))
        assert len({event.id for event in events}) == len(events)
        messages = [event.message for event in reversed(events)]
        assert messages[0] == f"Created fine-tuning job: {succeeded_job.id}"
        assert messages[1] == (
            f"Validating training file: {training_file} and validation file: {validation_file}"
        )
        assert messages[2] == "Files validated, moving job to queued state"
        assert messages[3] == "Fine-tuning job started"
        assert messages[-2] == f"New fine-tuned model created: {succeeded_job.fine_tuned_model}"
        assert messages[-1] == "The job has successfully completed"
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
        self, client: OpenAI, succeeded_job: FineTuningJob
    ) -> None:
        found = list(client.fine_tuning.jobs.checkpoints.list(succeeded_job.id, limit=2))
        assert [checkpoint.step_number for checkpoint in found] == [6, 4, 2]
        assert found[0].fine_tuned_model_checkpoint == succeeded_job.fine_tuned_model
        for checkpoint in found[1:]:
            name = checkpoint.fine_tuned_model_checkpoint
            assert name.endswith(f":ckpt-step-{checkpoint.step_number}")
        assert found[0].metrics.full_valid_loss is not None

    def test_the_result_file_is_base64_of_the_metrics(
        self, client: OpenAI, succeeded_job: FineTuningJob
    ) -> None:
        (result,) = succeeded_job.result_files
        assert client.files.retrieve(result).purpose == "fine-tune-results"
        text = base64.b64decode(client.files.content(result).read()).decode()
        rows = list(csv.DictReader(io.StringIO(text)))
        assert list(rows[0]) == [
            "step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy",
            "gradient_norm", "learning_rate",
        ]  # fmt: skip
        assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]
        assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])

    def test_an_equal_job_has_equal_losses(
        self, client: OpenAI, succeeded_job: FineTuningJob, training_file: str
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
            for job in (succeeded_job, done)
        ]
        assert losses[0] == losses[1]


class TestList:
    def test_pages_contain_every_job_once(
        self, lenient_client: OpenAI, succeeded_job: FineTuningJob
    ) -> None:
        # The SDK's types do not know the methods of encoder jobs, which may be among them.
        ids = [job.id for job in lenient_client.fine_tuning.jobs.list(limit=1)]
        assert len(set(ids)) == len(ids)
        assert succeeded_job.id in ids

    def test_metadata_filters(self, client: OpenAI, succeeded_job: FineTuningJob) -> None:
        with_team = [job.id for job in client.fine_tuning.jobs.list(metadata={"team": "desk"})]
        assert with_team == [succeeded_job.id]
        assert [job.id for job in client.fine_tuning.jobs.list(metadata={"team": "x"})] == []


class TestContinuedTraining:
    def test_a_fine_tuned_model_can_be_the_base(
        self, client: OpenAI, succeeded_job: FineTuningJob, training_file: str
    ) -> None:
        assert succeeded_job.fine_tuned_model is not None
        job = client.fine_tuning.jobs.create(
            model=succeeded_job.fine_tuned_model,
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
            for event in client.fine_tuning.jobs.list_events(succeeded_job.id, limit=100)
            if event.type == "metrics" and isinstance(event.data, dict)
        }
        assert losses[1] < fresh[1], "training continues from the fine-tuned model"


class TestCancelledJob:
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
        assert client.fine_tuning.jobs.cancel(job.id) == cancelled, "cancellation is idempotent"
        # The only slot is free again: another job gets it.
        other = client.fine_tuning.jobs.create(
            model=BASE,
            training_file=training_file,
            hyperparameters={"n_epochs": 1, "batch_size": 12},
        )
        assert wait_for_job(client, other.id).status == "succeeded"
        assert client.fine_tuning.jobs.retrieve(job.id).status == "cancelled"


class TestRejectedRequests:
    def test_cancelling_a_succeeded_job(self, client: OpenAI, succeeded_job: FineTuningJob) -> None:
        with pytest.raises(BadRequestError) as raised:
            client.fine_tuning.jobs.cancel(succeeded_job.id)
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

    def test_too_few_examples_fail_the_job(self, client: OpenAI) -> None:
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
