"""Routes of /v1/fine_tuning/sweeps: requests, responses, pagination, and isolation of projects."""

from typing import Any

import httpx
import pytest
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob
from pydantic import SecretStr
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.tables import Job, Project, Sweep, SweepTrial
from tests.app.files.test_routes import GOOD, LINE
from tests.app.http.test_admission import expect_error
from tests.app.jobs.test_routes import make_model
from tests.factories import make_file, make_job
from tests.live_api import Account, Api, serve_with

SWEEPS = "/v1/fine_tuning/sweeps"
RATE = "learning_rate_multiplier"
GRID = {RATE: {"values": [0.5, 2]}, "lora_rank": {"values": [4, 8]}}


@pytest.fixture
def job(openai: OpenAI) -> dict[str, Any]:
    """The body of a job with a training and a validation file."""
    files = {
        role: openai.files.create(file=(f"{role}.jsonl", content), purpose="fine-tune").id
        for role, content in (("training_file", GOOD), ("validation_file", LINE))
    }
    return {"model": "base", **files}


@pytest.fixture
def project(session: Session, account: Account) -> Project:
    return session.get_one(Project, account.principal.project_id)


def build_body(job: dict[str, Any], **changes: Any) -> dict[str, Any]:
    body = {"job": job, "space": GRID, "strategy": "grid", "max_jobs": 4, "metric": "valid_loss"}
    return body | changes


def count(session: Session, table: type[Job] | type[Sweep] | type[SweepTrial]) -> int:
    return session.scalars(select(func.count()).select_from(table)).one()


class TestCreate:
    def test_a_grid_by_the_raw_client(self, openai: OpenAI, job: dict[str, Any]) -> None:
        body = build_body(job | {"metadata": {"team": "desk"}}, metadata={"a": "b"}, seed=3)
        sweep: Any = openai.post("/fine_tuning/sweeps", cast_to=object, body=body)
        assert sweep.pop("id").startswith("ftsweep-")
        assert sweep.pop("created_at") > 1_700_000_000
        trials = sweep.pop("trials")
        method = {"type": "supervised", "supervised": {"hyperparameters": {}}}
        assert sweep == {
            "object": "fine_tuning.sweep",
            "finished_at": None,
            "status": "running",
            "job": job | {"metadata": {"team": "desk"}, "method": method, "seed": 3},
            "space": GRID,
            "strategy": "grid",
            "max_jobs": 4,
            "metric": "valid_loss",
            "goal": "minimize",
            "seed": 3,
            "metadata": {"a": "b"},
            "best": None,
            "why": None,
            "error": None,
        }
        assert [trial["hyperparameters"] for trial in trials] == [
            {RATE: rate, "lora_rank": rank} for rate in (0.5, 2) for rank in (4, 8)
        ]
        assert {trial["status"] for trial in trials} == {"running"}

    def test_files_with_which_every_job_would_fail_are_refused(
        self, http: httpx.Client, session: Session, job: dict[str, Any]
    ) -> None:
        """With the sentence that a single job fails with."""
        method = {"type": "dpo", "dpo": {"hyperparameters": {}}}
        for changes, code, param, reason in (
            (
                {"validation_file": job["training_file"]},
                "invalid_validation_file",
                "job.validation_file",
                "has the same content as the training file",
            ),
            (
                {"method": method},
                "invalid_file_format",
                "job.training_file",
                "Method dpo needs examples in the preference format",
            ),
        ):
            error = expect_error(http.post(SWEEPS, json=build_body(job | changes)), 400)
            assert (error["code"], error["param"]) == (code, param)
            assert reason in (error["message"] or "")
        assert (count(session, Sweep), count(session, Job)) == (0, 0)

    def test_its_jobs_are_ordinary_jobs(
        self, openai: OpenAI, http: httpx.Client, job: dict[str, Any]
    ) -> None:
        method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}}
        body = build_body(job | {"method": method, "suffix": "x", "metadata": {"team": "desk"}})
        sweep = http.post(SWEEPS, json=body).json()
        jobs = list(openai.fine_tuning.jobs.list(metadata={"sweep_id": sweep["id"]}))
        assert sorted(each.id for each in jobs) == sorted(t["job_id"] for t in sweep["trials"])
        first = openai.fine_tuning.jobs.retrieve(sweep["trials"][0]["job_id"])
        assert isinstance(first, FineTuningJob)
        assert first.metadata == {
            "team": "desk",
            "sweep_id": sweep["id"],
            "sweep_trial": "0",
            "sweep_rung": "0",
        }
        assert first.hyperparameters.to_dict() == {
            "n_epochs": 2,
            "batch_size": "auto",
            RATE: 0.5,
            "lora_rank": 4,
        }
        assert {each.seed for each in jobs} == {sweep["seed"]}, "they differ in nothing else"
        assert first.to_dict()["user_provided_suffix"] == "x"

    def test_events_have_the_shape_of_a_jobs(self, http: httpx.Client, job: dict[str, Any]) -> None:
        body = build_body(job | {"lunch": True})
        sweep = http.post(SWEEPS, json=body).json()
        events = http.get(f"{SWEEPS}/{sweep['id']}/events").json()
        assert [event["level"] for event in events["data"]] == ["info"] * 4 + ["warn", "info"]
        newest = events["data"][0]
        assert newest.pop("id").startswith("ftevent-")
        assert newest.pop("created_at") > 1_700_000_000
        job_id = sweep["trials"][3]["job_id"]
        assert newest == {
            "object": "fine_tuning.sweep.event",
            "level": "info",
            "message": f"Trial 3 is {job_id}, with {RATE}=2.0, lora_rank=8",
            "type": "message",
            "data": {"trial": 3, "job_id": job_id},
        }
        assert "lunch" in events["data"][4]["message"]
        page = http.get(f"{SWEEPS}/{sweep['id']}/events", params={"limit": 4}).json()
        after = {"after": page["data"][-1]["id"]}
        rest = http.get(f"{SWEEPS}/{sweep['id']}/events", params=after).json()
        assert (page["has_more"], len(rest["data"]), rest["has_more"]) == (True, 2, False)

    def test_unknown_fields_of_integrations_are_reported_once(
        self, api: Api, account: Account, job: dict[str, Any]
    ) -> None:
        run = {"type": "wandb", "wandb": {"project": "p", "group": "g"}}
        with serve_with(api, account, wandb_api_key=SecretStr("0" * 40)) as client:
            answer = client.post(SWEEPS, json=build_body(job | {"integrations": [run]}))
            assert answer.status_code == 200, answer.text
            sweep = answer.json()
            assert "group" not in sweep["job"]["integrations"][0]["wandb"]
            paths = [f"{SWEEPS}/{sweep['id']}"]
            paths += [f"/v1/fine_tuning/jobs/{trial['job_id']}" for trial in sweep["trials"]]
            messages = [
                [event["message"] for event in client.get(f"{path}/events").json()["data"]]
                for path in paths
            ]
        reports = [sum("wandb.group" in text for text in texts) for texts in messages]
        assert reports == [1, 0, 0, 0, 0]

    def test_a_retry_creates_no_second_sweep(
        self, http: httpx.Client, job: dict[str, Any], session: Session
    ) -> None:
        headers = {"Idempotency-Key": "once"}
        first, again = (http.post(SWEEPS, json=build_body(job), headers=headers) for _ in range(2))
        assert first.json() == again.json()
        assert again.headers["Idempotent-Replayed"] == "true"
        assert (count(session, Sweep), count(session, Job)) == (1, 4)


class TestInvalidRequests:
    @pytest.mark.parametrize(
        ("changes", "job_changes", "param", "words"),
        [
            ({}, {"model": "nope"}, "job.model", "not available"),
            ({}, {"training_file": "file-x"}, "job.training_file", "does not exist"),
            ({}, {"training_file": 5}, "job.training_file", "expected a string"),
            ({}, {"validation_file": None}, "job.validation_file", "Missing"),
            ({}, {"traning_file": "x"}, "job.traning_file", "'job.traning_file'. Did you mean"),
            (
                {},
                {"hyperparameters": {"n_epochs": 0}},
                "job.hyperparameters.n_epochs",
                "from 1 to 50",
            ),
            ({}, {"metadata": {"sweep_id": "x"}}, "job.metadata", "sweep_id"),
            ({}, {"metadata": {str(n): "" for n in range(14)}}, "job.metadata", "at most 13"),
            ({}, {"hyperparameters": {"lora_rank": 4}}, "space.lora_rank", "sets it too"),
            ({"space": {}}, {}, "space", "at least 1"),
            ({"space": {"lora_rnk": {"values": [1]}}}, {}, "space.lora_rnk", "'lora_rank'?"),
            (
                {"space": {"lora_rank": {"values": [4, 8, 300]}}},
                {},
                "space.lora_rank.values[2]",
                "from 1 to 256",
            ),
            (
                {"space": {"lora_rank": {"values": [4, 4.0]}}},
                {},
                "space.lora_rank.values[1]",
                "repeats values[0]",
            ),
            (
                {"space": {"lora_rank": {"values": [4, None]}}},
                {},
                "space.lora_rank.values[1]",
                "got null",
            ),
            ({"space": {"lora_rank": {}}}, {}, "space.lora_rank", "expected either"),
            ({"space": {"lora_rank": {"min": 1, "max": 4}}}, {}, "space.lora_rank", "random"),
            (
                {"space": {"lora_rank": {"min": 0, "max": 4}}, "strategy": "random"},
                {},
                "space.lora_rank.min",
                "from 1 to 256",
            ),
            (
                {"space": {"lora_rank": {"min": 4, "max": 4}}, "strategy": "random"},
                {},
                "space.lora_rank.max",
                "above min",
            ),
            (
                {"space": {"packing": {"min": 0, "max": 1}}, "strategy": "random"},
                {},
                "space.packing",
                "only numbers",
            ),
            (
                {
                    "space": {"lora_dropout": {"min": 0, "max": 0.5, "scale": "log"}},
                    "strategy": "random",
                },
                {},
                "space.lora_dropout.min",
                "above 0",
            ),
            (
                {"space": {"lora_rank": {"values": list(range(1, 66))}}},
                {},
                "space.lora_rank.values",
                "64",
            ),
            *(
                (
                    {"space": {"lora_dropout": {"min": low, "max": 0.5}}, "strategy": "random"},
                    {},
                    "space.lora_dropout.min",
                    "expected a number",
                )
                for low in ("0.1", True, [0.1])
            ),
            ({"max_jobs": 3}, {}, "max_jobs", "2 x 2 = 4 combinations"),
            ({"max_jobs": 65}, {}, "max_jobs", "from 1 to 64"),
            ({"strategy": "bayes"}, {}, "strategy", "grid"),
            ({"strategy": "halving"}, {}, "job.hyperparameters.n_epochs", "at least 3"),
            ({"metric": "test_loss"}, {}, "metric", "never used to choose"),
            ({"metric": "accuracy"}, {}, "metric", "not a metric of method 'supervised'"),
            (
                {"space": {"max_seq_length": {"values": [64, 128]}}},
                {},
                "space.max_seq_length",
                "do not compare",
            ),
            ({"lunch": True}, {}, "lunch", "Unknown parameter"),
        ],
    )
    def test_nothing_is_created(
        self,
        http: httpx.Client,
        session: Session,
        job: dict[str, Any],
        changes: dict[str, Any],
        job_changes: dict[str, Any],
        param: str,
        words: str,
    ) -> None:
        error = expect_error(http.post(SWEEPS, json=build_body(job | job_changes, **changes)), 400)
        assert error["param"] == param
        assert words in error["message"]
        assert (count(session, Sweep), count(session, Job)) == (0, 0)

    def test_an_option_that_one_combination_may_not_have(
        self, http: httpx.Client, session: Session, project: Project, job: dict[str, Any]
    ) -> None:
        """The model's rank cannot change: found before the first job of the sweep is created."""
        resolved = {"lora_rank": 4}
        earlier = make_job(session, project, base_model="base", resolved_hyperparameters=resolved)
        make_model(session, earlier, "ft:base:acme::Abcd1234")
        body = build_body(job | {"model": "ft:base:acme::Abcd1234"})
        error = expect_error(http.post(SWEEPS, json=body), 400)
        assert error["param"] == "space.lora_rank.values[1]"
        assert "whose lora_rank is 4" in error["message"]
        assert count(session, Sweep) == 0

    def test_dpo_losses_of_different_beta_do_not_compare(
        self, http: httpx.Client, session: Session, project: Project, job: dict[str, Any]
    ) -> None:
        training, validation = (make_file(session, project, format="preference") for _ in range(2))
        session.commit()
        changes = {
            "method": {"type": "dpo"},
            "training_file": training.id,
            "validation_file": validation.id,
        }
        body = build_body(job | changes, space={"beta": {"values": [0.1, 0.5]}})
        assert expect_error(http.post(SWEEPS, json=body), 400)["param"] == "space.beta"
        body["metric"] = "valid_reward_accuracy"
        assert http.post(SWEEPS, json=body).json()["goal"] == "maximize"

    def test_scored_pairs_have_no_retrieval(
        self, http: httpx.Client, session: Session, project: Project, job: dict[str, Any]
    ) -> None:
        training, validation = (
            make_file(session, project, format="embedding", summary={"shape": "score"})
            for _ in range(2)
        )
        session.commit()
        changes = {
            "model": "small-encoder",
            "training_file": training.id,
            "validation_file": validation.id,
            "method": {"type": "embedding"},
        }
        space = {RATE: {"values": [1, 2]}}
        body = build_body(job | changes, space=space, metric="valid_retrieval_at_1")
        error = expect_error(http.post(SWEEPS, json=body), 400)
        assert (error["param"], "valid_spearman" in error["message"]) == ("metric", True)

    def test_too_many_running_sweeps(self, http: httpx.Client, job: dict[str, Any]) -> None:
        body = build_body(job, space={RATE: {"values": [1]}})
        for _ in range(8):
            assert http.post(SWEEPS, json=body).status_code == 200
        answer = http.post(SWEEPS, json=body)
        assert "maximum of 8 running sweeps" in expect_error(answer, 429)["message"]
        assert answer.headers["x-should-retry"] == "false"


class TestLists:
    def test_pages(self, http: httpx.Client, job: dict[str, Any]) -> None:
        body = build_body(job, space={RATE: {"values": [1]}})
        ids = [http.post(SWEEPS, json=body).json()["id"] for _ in range(3)]
        page = http.get(SWEEPS, params={"limit": 2}).json()
        assert ([each["id"] for each in page["data"]], page["has_more"]) == (ids[:0:-1], True)
        assert [len(each["trials"]) for each in page["data"]] == [1, 1]
        rest = http.get(SWEEPS, params={"after": ids[1]}).json()
        assert [each["id"] for each in rest["data"]] == ids[:1]
        assert http.get(f"{SWEEPS}/{ids[0]}").json() == rest["data"][0]

    def test_another_tenants_sweep_is_unknown(
        self, http: httpx.Client, other_tenant: httpx.Client, job: dict[str, Any]
    ) -> None:
        sweep = http.post(SWEEPS, json=build_body(job)).json()["id"]
        for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/cancel")):
            answer = other_tenant.request(method, f"{SWEEPS}/{sweep}{path}")
            error = expect_error(answer, 404)
            assert (error["code"], error["param"]) == ("sweep_not_found", "sweep_id")
        assert other_tenant.get(SWEEPS).json()["data"] == []
        assert http.get(f"{SWEEPS}/{sweep}").json()["status"] == "running"


class TestCancel:
    def test_cancels_its_jobs_and_again_changes_nothing(
        self, http: httpx.Client, openai: OpenAI, job: dict[str, Any], session: Session
    ) -> None:
        body = build_body(job, space={"lora_rank": {"values": [1, 2, 3, 4, 5, 6]}}, max_jobs=6)
        sweep = http.post(SWEEPS, json=body).json()
        assert [t["status"] for t in sweep["trials"]] == ["running"] * 4 + ["pending"] * 2
        cancelled = http.post(f"{SWEEPS}/{sweep['id']}/cancel").json()
        assert cancelled["status"] == "cancelled"
        assert cancelled["finished_at"] is not None
        assert {trial["status"] for trial in cancelled["trials"]} == {"cancelled"}
        assert set(session.scalars(select(Job.state))) == {"cancelled"}
        assert http.post(f"{SWEEPS}/{sweep['id']}/cancel").json() == cancelled
        assert count(session, Job) == 4

    def test_its_files_and_model_stay_while_it_runs(
        self, http: httpx.Client, job: dict[str, Any], session: Session, project: Project
    ) -> None:
        earlier = make_job(session, project, base_model="base", state="succeeded")
        name = make_model(session, earlier, "ft:base:acme::Abcd1234").name
        space = {RATE: {"values": [1, 2]}}
        body = build_body(job | {"model": name}, space=space)
        sweep = http.post(SWEEPS, json=body).json()
        for trial in sweep["trials"]:
            http.post(f"/v1/fine_tuning/jobs/{trial['job_id']}/cancel")
        for path in (f"/v1/files/{job['validation_file']}", f"/v1/models/{name}"):
            assert "sweep" in expect_error(http.delete(path), 400)["message"]
        http.post(f"{SWEEPS}/{sweep['id']}/cancel")
        for path in (f"/v1/files/{job['validation_file']}", f"/v1/models/{name}"):
            assert http.delete(path).status_code == 200
