"""Routes of /v1/fine_tuning/jobs: requests, responses, pagination, and isolation of projects."""

from typing import Any

import httpx
import pytest
from openai import APIStatusError, BadRequestError, NotFoundError, OpenAI, RateLimitError
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app import ids
from app.db.tables import Checkpoint, FineTunedModel, Job, JobEvent, Outbox, Project
from tests.app.files.test_routes import GOOD, LINE
from tests.app.http.test_admission import expect_error
from tests.factories import make_file, make_job
from tests.live_api import Account

WANDB = {"type": "wandb", "wandb": {"project": "desk"}}
AUTO = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}


@pytest.fixture
def training_file(openai: OpenAI) -> str:
    return openai.files.create(file=("train.jsonl", GOOD), purpose="fine-tune").id


@pytest.fixture
def project(session: Session, account: Account) -> Project:
    return session.get_one(Project, account.principal.project_id)


def make_model(session: Session, job: Job, name: str, *, step: int | None = None) -> FineTunedModel:
    model = FineTunedModel(
        name=name,
        project_id=job.project_id,
        job_id=job.id,
        base_model=job.base_model,
        step=step,
        storage_prefix=f"projects/{job.project_id}/jobs/{job.id}/attempt-1/step-{step or 9}",
    )
    session.add(model)
    session.commit()
    return model


class TestA23QueueQuota:
    @pytest.fixture(autouse=True)
    def _quota_of_one(self, session: Session, project: Project) -> None:
        project.max_queued_jobs = 1
        session.commit()

    def test_rejects_a_job_over_the_quota_and_the_sdk_does_not_retry(
        self, openai: OpenAI, training_file: str, session: Session
    ) -> None:
        retrying = openai.with_options(max_retries=2).fine_tuning.jobs
        job = retrying.create(model="base", training_file=training_file)
        with pytest.raises(RateLimitError, match=r"maximum of 1 queued job\(s\)") as rejected:
            retrying.create(model="base", training_file=training_file, seed=1)
        assert (rejected.value.code, rejected.value.type) == ("rate_limit_exceeded", "requests")
        assert rejected.value.request.headers["x-stainless-retry-count"] == "0"
        assert rejected.value.response.headers["Retry-After"] == "60"
        retrying.cancel(job.id)
        retrying.create(model="base", training_file=training_file, seed=1)

    def test_rejects_resuming_over_the_quota(
        self, http: httpx.Client, training_file: str, session: Session, project: Project
    ) -> None:
        paused = make_job(session, project, state="paused")
        make_job(session, project)
        session.commit()
        answer = http.post(f"/v1/fine_tuning/jobs/{paused.id}/resume")
        assert expect_error(answer, 429)["code"] == "rate_limit_exceeded"


class TestTestFile:
    def test_a_job_names_its_test_file_which_cannot_be_deleted(
        self, openai: OpenAI, http: httpx.Client, training_file: str
    ) -> None:
        test_file = openai.files.create(file=("test.jsonl", LINE), purpose="fine-tune").id
        body = {
            "model": "base",
            "training_file": training_file,
            "test_file": test_file,
            "test_metrics": ["bleu"],
        }
        job = http.post("/v1/fine_tuning/jobs", json=body).json()
        assert (job["test_file"], job["test_results"]) == (test_file, None)
        error = expect_error(http.delete(f"/v1/files/{test_file}"), 400)
        assert job["id"] in error["message"]

    def test_an_unknown_file_or_metrics_without_a_file_are_rejected(
        self, http: httpx.Client, training_file: str
    ) -> None:
        body = {"model": "base", "training_file": training_file}
        for extra, param in (
            ({"test_file": "file-nope"}, "test_file"),
            ({"test_metrics": ["chrf"]}, "test_metrics"),
        ):
            answer = http.post("/v1/fine_tuning/jobs", json=body | extra)
            assert expect_error(answer, 400)["param"] == param


class TestCreate:
    def test_a_new_job(
        self, http: httpx.Client, account: Account, training_file: str, session: Session
    ) -> None:
        body = {"model": "base", "training_file": training_file}
        answer = http.post("/v1/fine_tuning/jobs", json=body)
        assert answer.status_code == 200, answer.text
        job = answer.json()
        assert job.pop("id").startswith("ftjob-")
        assert 0 <= job.pop("seed") < 2**31
        assert job.pop("created_at") > 1_700_000_000
        assert job == {
            "object": "fine_tuning.job",
            "model": "base",
            "finished_at": None,
            "fine_tuned_model": None,
            "organization_id": account.principal.organization_id,
            "result_files": [],
            "status": "validating_files",
            "training_file": training_file,
            "validation_file": None,
            "hyperparameters": AUTO,
            "method": {"type": "supervised", "supervised": {"hyperparameters": AUTO}},
            "trained_tokens": None,
            "error": None,
            "estimated_finish": None,
            "integrations": [],
            "metadata": None,
            "user_provided_suffix": None,
            "usage_metrics": None,
            "shared_with_openai": False,
            "test_file": None,
            "test_results": None,
            "evaluations": None,
        }
        bell = session.scalars(select(Outbox)).one()
        assert (bell.kind, bell.payload["task"]) == ("notify", "validate")

    def test_all_parameters(self, openai: OpenAI, training_file: str) -> None:
        held_out = openai.files.create(file=("valid.jsonl", LINE), purpose="fine-tune").id
        job = openai.fine_tuning.jobs.create(
            model="gpt-4o-mini",
            training_file=training_file,
            validation_file=held_out,
            suffix="-Front desk_v1.2, it's user@x!",
            seed=42,
            metadata={"team": "desk", "empty": ""},
            method={
                "type": "supervised",
                "supervised": {
                    "hyperparameters": {
                        "n_epochs": 3,
                        "batch_size": 256,
                        "learning_rate_multiplier": 0.1,
                    }
                },
            },
        )
        assert job.model == "base", "an alias is resolved"
        assert job.seed == 42
        assert job.validation_file == held_out
        assert job.metadata == {"team": "desk", "empty": ""}
        assert job.to_dict()["user_provided_suffix"] == "-Front desk_v1.2, it's user@x!"
        assert job.hyperparameters.n_epochs == 3
        assert job.method is not None
        assert job.method.supervised is not None
        assert job.method.supervised.hyperparameters is not None
        assert job.method.supervised.hyperparameters.learning_rate_multiplier == 0.1
        assert openai.fine_tuning.jobs.retrieve(job.id) == job

    def test_a_test_file_is_shown_and_cannot_be_deleted(
        self, openai: OpenAI, training_file: str
    ) -> None:
        test_file = openai.files.create(file=("test.jsonl", LINE), purpose="fine-tune").id
        extensions = {"test_file": test_file, "test_metrics": ["bleu", "chrf"]}
        job = openai.fine_tuning.jobs.create(
            model="base", training_file=training_file, extra_body=extensions
        )
        assert job.to_dict()["test_file"] == test_file
        assert job.to_dict()["test_results"] is None, "it is not measured yet"
        assert openai.fine_tuning.jobs.retrieve(job.id).to_dict()["test_file"] == test_file
        with pytest.raises(APIStatusError) as refused:
            openai.files.delete(test_file)
        assert job.id in refused.value.message

    @pytest.mark.parametrize(
        ("body", "n_epochs"),
        [
            ({"hyperparameters": {}}, "auto"),
            ({"hyperparameters": {"n_epochs": 4}}, 4),
            ({"hyperparameters": {"n_epochs": 4.0, "prompt_loss_weight": 0.1}}, 4),
            ({"hyperparameters": None, "method": None, "seed": None, "suffix": None}, "auto"),
            ({"validation_file": None, "integrations": None, "metadata": None}, "auto"),
            ({"integrations": [], "lunch": True, "status": "succeeded"}, "auto"),
            (
                {
                    "hyperparameters": {"n_epochs": 4},
                    "method": {
                        "type": "supervised",
                        "supervised": {"hyperparameters": {"n_epochs": 5}},
                        "dpo": {"hyperparameters": {"beta": "auto"}},
                        "reinforcement": {"grader": {"type": "string_check"}},
                    },
                },
                5,
            ),
            ({"hyperparameters": {"n_epochs": 4}, "method": {"type": "supervised"}}, 4),
        ],
    )
    def test_tolerates_what_clients_send(
        self, http: httpx.Client, training_file: str, body: dict[str, Any], n_epochs: object
    ) -> None:
        answer = http.post(
            "/v1/fine_tuning/jobs",
            json={"model": "base", "training_file": training_file} | body,
        )
        assert answer.status_code == 200, answer.text
        assert answer.json()["hyperparameters"]["n_epochs"] == n_epochs
        assert answer.json()["status"] == "validating_files"

    def test_dpo(self, openai: OpenAI, training_file: str) -> None:
        """Validation checks later whether the file fits the method, as at OpenAI."""
        job = openai.fine_tuning.jobs.create(
            model="base",
            training_file=training_file,
            method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2, "n_epochs": 2}}},
        )
        assert job.method is not None
        assert job.method.type == "dpo"
        assert job.method.dpo is not None
        assert job.method.dpo.hyperparameters is not None
        assert job.method.dpo.hyperparameters.beta == 0.2
        assert job.hyperparameters.n_epochs == 2
        assert job.hyperparameters.batch_size == "auto"
        assert openai.fine_tuning.jobs.retrieve(job.id) == job

    def test_unknown_hyperparameters_are_reported_in_an_event(
        self, openai: OpenAI, http: httpx.Client, training_file: str
    ) -> None:
        requested = {"n_epochs": 4, "prompt_loss_weight": 0.1, "beta": 0.1}
        body = {"model": "base", "training_file": training_file, "hyperparameters": requested}
        job = http.post("/v1/fine_tuning/jobs", json=body).json()
        assert "prompt_loss_weight" not in job["hyperparameters"]
        event = openai.fine_tuning.jobs.list_events(job["id"]).data[0]
        assert event.level == "warn"
        assert event.message == (
            "Ignored hyperparameters that method supervised does not have: prompt_loss_weight, beta"
        )

    def test_continues_from_a_fine_tuned_model(
        self, openai: OpenAI, session: Session, project: Project, training_file: str
    ) -> None:
        earlier = make_job(session, project, base_model="base")
        name = "ft:base:acme::Abcd1234"
        make_model(session, earlier, name)
        job = openai.fine_tuning.jobs.create(model=name, training_file=training_file)
        assert job.model == name
        row = session.get_one(Job, job.id)
        assert (row.base_model, row.start_model) == ("base", name)


class TestInvalidRequests:
    @pytest.mark.parametrize(
        ("body", "param", "words"),
        [
            ({"model": None}, "model", "expected a string"),
            ({"training_file": 5}, "training_file", "expected a string"),
            ({"training_file": "file-unknown"}, "training_file", "'file-unknown' does not exist"),
            ({"validation_file": "file-x"}, "validation_file", "'file-x' does not exist"),
            ({"test_file": "file-x"}, "test_file", "'file-x' does not exist"),
            ({"test_metrics": ["rouge"]}, "test_metrics[0]", "bleu"),
            ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs", "from 1 to 50"),
            ({"hyperparameters": {"n_epochs": 51}}, "hyperparameters.n_epochs", "got 51"),
            ({"hyperparameters": {"n_epochs": True}}, "hyperparameters.n_epochs", "whole number"),
            ({"hyperparameters": {"n_epochs": 1.5}}, "hyperparameters.n_epochs", "whole number"),
            ({"hyperparameters": {"n_epochs": "many"}}, "hyperparameters.n_epochs", "'auto'"),
            ({"hyperparameters": {"n_epochs": [1]}}, "hyperparameters.n_epochs", "'auto'"),
            ({"hyperparameters": {"batch_size": 257}}, "hyperparameters.batch_size", "256"),
            (
                {"hyperparameters": {"learning_rate_multiplier": 0}},
                "hyperparameters.learning_rate_multiplier",
                "above 0",
            ),
            (
                {"hyperparameters": {"learning_rate_multiplier": 1e9}},
                "hyperparameters.learning_rate_multiplier",
                "expected 'auto' or a number above 0 and up to 100, but got 1000000000.0.",
            ),
            (
                {
                    "method": {
                        "type": "supervised",
                        "supervised": {"hyperparameters": {"n_epochs": -1}},
                    }
                },
                "method.supervised.hyperparameters.n_epochs",
                "from 1 to 50",
            ),
            ({"hyperparameters": "auto"}, "hyperparameters", "object"),
            ({"method": {"type": "magic"}}, "method.type", "supervised"),
            ({"method": {}}, "method.type", "Missing required parameter"),
            (
                {"method": {"type": "reinforcement"}},
                "method.type",
                "'reinforcement' is not available for model base; use 'supervised' or 'dpo'",
            ),
            (
                {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0}}}},
                "method.dpo.hyperparameters.beta",
                "expected 'auto' or a number above 0 and up to 2, but got 0.",
            ),
            (
                {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 2.1}}}},
                "method.dpo.hyperparameters.beta",
                "up to 2",
            ),
            ({"model": ""}, "model", "Invalid 'model': expected a name or an id, but got ''."),
            ({"training_file": " "}, "training_file", "expected a name or an id"),
            ({"suffix": ""}, "suffix", "expected 1 to 64 letters, digits, spaces"),
            ({"suffix": " "}, "suffix", "not spaces alone"),
            ({"suffix": "a:b"}, "suffix", "but got 'a:b'"),
            ({"suffix": "../../x"}, "suffix", "expected 1 to 64"),
            ({"suffix": "x" * 65}, "suffix", "expected 1 to 64"),
            ({"seed": -1}, "seed", "from 0 to 2147483647, but got -1."),
            ({"seed": 2**31}, "seed", "2147483647"),
            ({"seed": 2**64}, "seed", "expected an integer from 0 to 2147483647"),
            ({"seed": "7"}, "seed", "integer"),
            ({"metadata": {"a": 1}}, "metadata.a", "string"),
            ({"metadata": {"a": "x" * 513}}, "metadata.a", "512"),
            (
                {"metadata": {str(n): "" for n in range(17)}},
                "metadata",
                "Invalid 'metadata': expected at most 16 pairs, but got 17.",
            ),
            ({"integrations": [WANDB]}, "integrations", "No Weights & Biases credential"),
            ({"integrations": [WANDB] * 6}, "integrations", "at most 5 integrations, but got 6"),
            ({"integrations": [{"type": "wandb"}]}, "integrations[0].wandb", "Missing required"),
            ({"integrations": [{"type": "mlflow"}]}, "integrations[0].type", "'wandb'"),
            (
                {"integrations": [{"type": "wandb", "wandb": {"name": "x"}}]},
                "integrations[0].wandb.project",
                "Missing required parameter",
            ),
            (
                {
                    "integrations": [
                        {"type": "wandb", "wandb": {"project": "x", "tags": ["t"] * 51}}
                    ]
                },
                "integrations[0].wandb.tags",
                "at most 50 tags, but got 51",
            ),
        ],
    )
    def test_error_names_the_parameter_and_the_rule(
        self,
        http: httpx.Client,
        training_file: str,
        body: dict[str, Any],
        param: str,
        words: str,
    ) -> None:
        valid = {"model": "base", "training_file": training_file}
        error = expect_error(http.post("/v1/fine_tuning/jobs", json=valid | body), 400)
        assert error["type"] == "invalid_request_error"
        assert error["param"] == param, error
        assert words in str(error["message"]), error
        assert http.get("/v1/fine_tuning/jobs").json()["data"] == []

    @pytest.mark.parametrize(
        ("model", "words"),
        [
            ("gpt-9", "Model gpt-9 is not available for fine-tuning or does not exist"),
            ("encoder", "Model encoder is not available for fine-tuning"),
            ("ft:base:acme::Abcd1234", "or does not exist"),
        ],
    )
    def test_models_that_cannot_be_fine_tuned(
        self, openai: OpenAI, training_file: str, model: str, words: str
    ) -> None:
        with pytest.raises(BadRequestError) as raised:
            openai.fine_tuning.jobs.create(model=model, training_file=training_file)
        assert raised.value.code == "model_not_available"
        assert words in raised.value.message

    def test_a_file_of_another_purpose(self, openai: OpenAI) -> None:
        other = openai.files.create(file=("a.jsonl", GOOD), purpose="assistants").id
        with pytest.raises(BadRequestError) as raised:
            openai.fine_tuning.jobs.create(model="base", training_file=other)
        assert raised.value.param == "training_file"
        assert "'assistants'" in raised.value.message


class TestSerialization:
    @pytest.mark.parametrize(
        ("state", "status"),
        [("pausing", "running"), ("finalizing", "running"), ("paused", "paused")],
    )
    def test_internal_states_map_to_openais(
        self, http: httpx.Client, session: Session, project: Project, state: str, status: str
    ) -> None:
        job = make_job(session, project, state=state)
        session.commit()
        assert http.get(f"/v1/fine_tuning/jobs/{job.id}").json()["status"] == status

    def test_a_running_job_has_no_results_yet(
        self, openai: OpenAI, session: Session, project: Project
    ) -> None:
        job = make_job(
            session,
            project,
            state="running",
            resolved_hyperparameters={
                "n_epochs": 3,
                "batch_size": 1,
                "learning_rate_multiplier": 2.0,
            },
            trained_tokens=100,
            estimated_finish=func.now(),
        )
        session.commit()
        job_object = openai.fine_tuning.jobs.retrieve(job.id)
        assert job_object.hyperparameters.to_dict() == {
            "n_epochs": 3,
            "batch_size": 1,
            "learning_rate_multiplier": 2.0,
        }
        assert job_object.estimated_finish is not None
        assert job_object.trained_tokens is None

    def test_a_job_that_succeeded(self, openai: OpenAI, session: Session, project: Project) -> None:
        result = make_file(session, project, purpose="fine-tune-results")
        job = make_job(
            session,
            project,
            state="succeeded",
            trained_tokens=100,
            fine_tuned_model="ft:base:acme::Abcd1234",
            result_file_id=result.id,
            finished_at=func.now(),
            estimated_finish=func.now(),
        )
        session.commit()
        job_object = openai.fine_tuning.jobs.retrieve(job.id)
        assert job_object.fine_tuned_model == "ft:base:acme::Abcd1234"
        assert job_object.result_files == [result.id]
        assert job_object.trained_tokens == 100
        assert job_object.finished_at is not None
        assert job_object.estimated_finish is None
        assert job_object.error is None

    def test_a_job_that_failed(self, openai: OpenAI, session: Session, project: Project) -> None:
        job = make_job(
            session,
            project,
            state="failed",
            error_code="invalid_training_file",
            error_message="It is bad.",
            error_param="training_file",
        )
        session.commit()
        job_object = openai.fine_tuning.jobs.retrieve(job.id)
        assert job_object.error is not None
        assert job_object.error.to_dict() == {
            "code": "invalid_training_file",
            "message": "It is bad.",
            "param": "training_file",
        }


class TestCancel:
    def test_a_new_job(self, http: httpx.Client, session: Session, project: Project) -> None:
        """Cancels with the empty body and JSON content type that SDKs send."""
        job = make_job(session, project)
        session.commit()
        headers = {"Content-Type": "application/json"}
        answer = http.post(f"/v1/fine_tuning/jobs/{job.id}/cancel", headers=headers)
        assert answer.json()["status"] == "cancelled"
        assert answer.json()["finished_at"] is not None

    @pytest.mark.parametrize("state", ["succeeded", "failed"])
    def test_a_job_that_has_ended(
        self, openai: OpenAI, session: Session, project: Project, state: str
    ) -> None:
        job = make_job(session, project, state=state)
        session.commit()
        with pytest.raises(BadRequestError, match=state):
            openai.fine_tuning.jobs.cancel(job.id)


class TestListing:
    @pytest.fixture
    def jobs(self, session: Session, project: Project) -> list[str]:
        """Ids of four jobs, oldest first; the last two have the same creation time."""
        metadata: list[dict[str, str] | None] = [{"a": "1", "b": ""}, {"a": "1"}, {}, None]
        job_ids = []
        for pairs in metadata:
            changes = {} if pairs is None else {"user_metadata": pairs}
            job_ids.append(make_job(session, project, **changes).id)
        moment = select(Job.created_at).where(Job.id == job_ids[3]).scalar_subquery()
        session.execute(update(Job).where(Job.id == job_ids[2]).values(created_at=moment))
        session.commit()
        return job_ids[:2] + sorted(job_ids[2:])

    def test_pagination_returns_every_job_once(self, openai: OpenAI, jobs: list[str]) -> None:
        assert [job.id for job in openai.fine_tuning.jobs.list(limit=1)] == jobs[::-1]
        page = openai.fine_tuning.jobs.list(limit=4)
        assert not page.has_more

    def test_metadata_filter(
        self, http: httpx.Client, other_tenant: httpx.Client, openai: OpenAI, jobs: list[str]
    ) -> None:
        def list_ids(metadata: dict[str, str]) -> list[str]:
            return [job.id for job in openai.fine_tuning.jobs.list(metadata=metadata)]

        assert list_ids({"a": "1"}) == [jobs[1], jobs[0]]
        assert list_ids({"a": "1", "b": ""}) == [jobs[0]]
        assert list_ids({"a": "2"}) == []
        older_jobs = openai.fine_tuning.jobs.list(metadata={"a": "1"}, after=jobs[1]).data
        assert [job.id for job in older_jobs] == [jobs[0]]
        for null in ("null", ""):
            without = http.get(f"/v1/fine_tuning/jobs?metadata={null}").json()["data"]
            assert [job["id"] for job in without] == [jobs[3], jobs[2]]
        for filters in ("metadata=null", "metadata[a]=1", "metadata[a]=1&metadata[b]="):
            assert other_tenant.get(f"/v1/fine_tuning/jobs?{filters}").json()["data"] == []

    def test_a_filter_has_at_most_as_many_pairs_as_a_job(self, http: httpx.Client) -> None:
        pairs = [f"metadata[k{number}]=v" for number in range(17)]
        assert http.get("/v1/fine_tuning/jobs?" + "&".join(pairs[:16])).status_code == 200
        assert http.get("/v1/fine_tuning/jobs?" + "&".join(pairs)).status_code == 400

    @pytest.mark.parametrize(
        "query",
        [
            "metadata=team",
            "metadata[a",
            "metadata[a]=1&metadata[a]=2",
            "metadata[a]=1&metadata=null",
            "metadata[a]=1&metadata=",
            "%6Detadata[a]=1&%6Detadata=",
        ],
    )
    def test_rejects_a_malformed_filter(self, http: httpx.Client, query: str) -> None:
        answer = http.get(f"/v1/fine_tuning/jobs?{query}")
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "metadata"

    def test_an_unknown_cursor_returns_an_empty_page(
        self, http: httpx.Client, other_tenant: httpx.Client, jobs: list[str]
    ) -> None:
        for client, path in [
            (http, "?after=ftjob-x"),
            (other_tenant, f"?after={jobs[0]}"),
            (http, f"/{jobs[0]}/events?after=ftevent-x"),
            (http, f"/{jobs[0]}/checkpoints?after=ftckpt_x"),
        ]:
            page = client.get(f"/v1/fine_tuning/jobs{path}").json()
            assert (page["data"], page["has_more"]) == ([], False)

    def test_events_newest_first(self, openai: OpenAI, session: Session, jobs: list[str]) -> None:
        for seq in range(1, 6):
            event = JobEvent(
                id=ids.event_id(),
                job_id=jobs[0],
                seq=seq,
                attempt=1,
                dedupe_key=str(seq),
                level="info",
                type="metrics" if seq == 5 else "message",
                message=f"event {seq}",
                data={"step": 1} if seq == 5 else None,
            )
            session.add(event)
        session.commit()
        events = list(openai.fine_tuning.jobs.list_events(jobs[0], limit=2))
        assert [event.message for event in events] == [f"event {n}" for n in (5, 4, 3, 2, 1)]
        assert events[0].data == {"step": 1}
        assert events[1].data is None

    def test_checkpoints_newest_first(
        self, openai: OpenAI, http: httpx.Client, session: Session, jobs: list[str]
    ) -> None:
        kinds = {2: "user", 4: "user", 5: "resume", 6: "user"}
        for step, kind in kinds.items():
            checkpoint = Checkpoint(
                id=ids.checkpoint_id(),
                job_id=jobs[0],
                attempt=1,
                step=step,
                kind=kind,
                storage_prefix="p",
                manifest_sha256="",
                bytes=1,
                model_name=f"ft:base:acme::Abcd123{step}",
                metrics={"step": step, "train_loss": 0.5},
                deleted_at=func.now() if step == 2 else None,
            )
            session.add(checkpoint)
        session.commit()
        checkpoints = list(openai.fine_tuning.jobs.checkpoints.list(jobs[0], limit=1))
        assert [checkpoint.step_number for checkpoint in checkpoints] == [6, 4]
        assert checkpoints[0].fine_tuned_model_checkpoint == "ft:base:acme::Abcd1236"
        assert checkpoints[0].fine_tuning_job_id == jobs[0]
        assert checkpoints[0].metrics.train_loss == 0.5
        page = http.get(f"/v1/fine_tuning/jobs/{jobs[0]}/checkpoints").json()
        assert (page["first_id"], page["last_id"]) == (checkpoints[0].id, checkpoints[1].id)


class TestNotFound:
    def test_error_has_openais_wording(self, openai: OpenAI) -> None:
        with pytest.raises(NotFoundError) as raised:
            openai.fine_tuning.jobs.retrieve("ftjob-x")
        assert raised.value.body == {
            "message": "Could not find fine tune: ftjob-x",
            "type": "invalid_request_error",
            "param": "fine_tune_id",
            "code": "fine_tune_not_found",
        }

    @pytest.mark.parametrize(
        ("method", "path"),
        [("GET", ""), ("POST", "/cancel"), ("GET", "/events"), ("GET", "/checkpoints")],
    )
    def test_another_projects_job(
        self,
        other_tenant: httpx.Client,
        session: Session,
        project: Project,
        method: str,
        path: str,
    ) -> None:
        job = make_job(session, project)
        session.commit()
        existing = expect_error(
            other_tenant.request(method, f"/v1/fine_tuning/jobs/{job.id}{path}"), 404
        )
        unknown = expect_error(
            other_tenant.request(method, f"/v1/fine_tuning/jobs/ftjob-x{path}"), 404
        )
        assert {**existing, "message": ""} == {**unknown, "message": ""}
        assert other_tenant.get("/v1/fine_tuning/jobs").json()["data"] == []

    def test_another_projects_file(
        self, other_tenant: httpx.Client, session: Session, project: Project
    ) -> None:
        file = make_file(session, project)
        session.commit()
        body = {"model": "base", "training_file": file.id}
        error = expect_error(other_tenant.post("/v1/fine_tuning/jobs", json=body), 400)
        assert error["param"] == "training_file"
