"""Attached evals: a job's model and its base model are run on its evals, and compared."""

from functools import partial
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from openai import OpenAI
from scipy import stats
from sqlalchemy import func, null, select, update

from app.db.session import SessionMaker, transaction
from app.db.tables import EvalOutputItem, EvalRun, Job, Project
from app.evals import attached, comparison, item_scores
from app.evals.comparison import ItemResults
from app.evals.item_reader import ItemReader
from app.operations.reconciler import Reconciler
from app.stored_completions.service import save
from tests import live_server
from tests.app.evals.test_routes import EXACT, SIMILAR, build_body
from tests.app.evals.test_runs import HELLO, OTHER, content, sampled, wait_for_end
from tests.app.http.test_admission import expect_error
from tests.factories import make_file
from tests.live_api import Account, Api
from tests.live_server import completion
from tests.tenants import make_model
from tests.work_runner import RunWork

JOBS = "/v1/fine_tuning/jobs"
EXACT_NAME, SIMILAR_NAME = "right team", "close"


def test_the_interval_is_that_of_scipy() -> None:
    random = np.random.default_rng(1)
    differences = random.choice([-1.0, 0.0, 1.0], p=[0.1, 0.6, 0.3], size=200)
    expected = stats.bootstrap(
        (differences,), np.mean, method="percentile", n_resamples=20_000, rng=2
    ).confidence_interval
    found = comparison.find_interval(differences.tolist())
    assert found == pytest.approx([expected.low, expected.high], abs=0.02)
    assert comparison.find_interval(differences.tolist()) == found


def test_items_are_paired_and_errors_do_not_pass() -> None:
    base = ItemResults({0: 1.0, 1: 0.0, 2: 0.0, 3: 1.0}, {"a": {0: 0.5, 1: 0.25}})
    tuned = ItemResults({0: 1.0, 1: 1.0, 2: 1.0}, {"a": {1: 0.75, 2: 1.0}})
    result = comparison.compare(base, tuned, {"a": "first", "b": "second"})
    rate = result.pass_rate
    assert (rate.items, rate.base, rate.tuned, rate.difference) == (3, 0.3333, 1.0, 0.6667)
    first, second = result.criteria
    assert (first.name, first.items, first.base, first.tuned) == ("first", 1, 0.25, 0.75)
    assert first.interval == [0.5, 0.5]
    assert (second.items, second.base, second.interval) == (0, None, None)


@pytest.fixture
def file_id(sessions: SessionMaker, account: Account) -> str:
    with transaction(sessions) as session:
        project = session.get_one(Project, account.principal.project_id)
        return make_file(session, project).id


@pytest.fixture
def eval_id(openai: OpenAI, run_work: RunWork, in_process: None) -> str:
    """An eval with a run of the base model, whose items are used."""
    parent = openai.evals.create(name="tickets", **build_body(EXACT, SIMILAR))
    run = openai.evals.runs.create(parent.id, data_source=sampled(content(HELLO, OTHER, OTHER)))  # type: ignore[arg-type]
    with run_work():
        wait_for_end(openai, run)
    return parent.id


def create_job(http: httpx.Client, file_id: str, *eval_ids: str) -> dict[str, Any]:
    body = {
        "model": "base",
        "training_file": file_id,
        "evaluations": [{"eval_id": each} for each in eval_ids],
    }
    response = http.post(JOBS, json=body)
    assert response.status_code == 200, response.text
    job: dict[str, Any] = response.json()
    return job


def succeed(sessions: SessionMaker, job_id: str) -> str:
    with sessions() as session:
        job = session.get_one(Job, job_id)
        name = make_model(session, job, "ft:base:acme::Abcd1234").name
        session.execute(
            update(Job)
            .where(Job.id == job_id)
            .values(state="succeeded", finished_at=func.clock_timestamp(), fine_tuned_model=name)
        )
        session.commit()
    return name


def make_reconciler(api: Api, sessions: SessionMaker) -> Reconciler:
    state = api.state
    advance = partial(attached.advance, settings=state.settings, catalog=state.catalog)
    return Reconciler(sessions, grace_period_seconds=60, advance_evaluations=advance)


def advance(api: Api, sessions: SessionMaker, job_id: str) -> None:
    state = api.state
    with transaction(sessions) as session:
        attached.advance(session, job_id, settings=state.settings, catalog=state.catalog)


def test_both_models_are_run_and_compared(
    api: Api,
    http: httpx.Client,
    openai: OpenAI,
    run_work: RunWork,
    sessions: SessionMaker,
    file_id: str,
    eval_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def answer(model: str) -> dict[str, Any]:
        answered = completion(model)
        if model.startswith("ft:"):
            answered["choices"][0]["message"]["content"] = "Bye"
        return answered

    monkeypatch.setattr(live_server, "completion", answer)
    job = create_job(http, file_id, eval_id)
    (waiting,) = job["evaluations"]
    assert (waiting["eval_id"], waiting["name"], waiting["status"]) == (
        eval_id,
        "tickets",
        "queued",
    )
    with transaction(sessions) as session:
        assert attached.find_due(session) == []
    name = succeed(sessions, job["id"])
    assert make_reconciler(api, sessions).run()
    (running,) = http.get(f"{JOBS}/{job['id']}").json()["evaluations"]
    assert running["status"] == "in_progress"
    runs = [
        openai.evals.runs.retrieve(running[f"{role}_run_id"], eval_id=eval_id)
        for role in ("base", "tuned")
    ]
    assert [run.model for run in runs] == ["base", name]
    assert runs[0].metadata == {"job_id": job["id"], "role": "base"}
    # Not before both have ended.
    advance(api, sessions, job["id"])
    assert http.get(f"{JOBS}/{job['id']}").json()["evaluations"] == [running]
    with run_work():
        for run in runs:
            assert wait_for_end(openai, run).status == "completed"
    assert make_reconciler(api, sessions).run()
    (done,) = http.get(f"{JOBS}/{job['id']}").json()["evaluations"]
    rate = done["result"]["pass_rate"]
    assert (done["status"], rate["items"]) == ("completed", 3)
    assert (rate["base"], rate["tuned"], rate["difference"]) == (0.3333, 0.6667, 0.3333)
    assert rate["interval"] == [-1.0, 1.0]
    assert [each["name"] for each in done["result"]["criteria"]] == [EXACT_NAME, SIMILAR_NAME]
    event = http.get(f"{JOBS}/{job['id']}/events").json()["data"][0]
    assert event["message"].startswith(
        "Eval tickets: of 3 items the fine-tuned model passes 66.7%, the base model 33.3%: +33.3"
    )
    with transaction(sessions) as session:
        assert attached.find_due(session) == []
    advance(api, sessions, job["id"])
    assert len(openai.evals.runs.list(eval_id).data) == 3


def test_the_same_completions_are_answered_by_both(
    api: Api,
    http: httpx.Client,
    openai: OpenAI,
    run_work: RunWork,
    sessions: SessionMaker,
    account: Account,
    file_id: str,
    in_process: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project_id = account.principal.project_id
    store_completion(sessions, project_id, "first")
    config = {"type": "logs"}
    echo = EXACT | {"reference": "{{ item.output }}"}
    parent = openai.evals.create(**build_body(echo, data_source_config=config))
    source = {"type": "stored_completions", "limit": 1}
    run = openai.evals.runs.create(
        parent.id,
        data_source={"type": "completions", "model": "base", "source": source},  # type: ignore[arg-type]
    )
    with run_work():
        wait_for_end(openai, run)
    job = create_job(http, file_id, parent.id)
    succeed(sessions, job["id"])
    advance(api, sessions, job["id"])
    plan = ItemReader.plan

    def plan_and_store(reader: ItemReader, run_id: str) -> Any:
        ranges = plan(reader, run_id)
        store_completion(sessions, project_id, f"after {run_id}")
        return ranges

    monkeypatch.setattr(ItemReader, "plan", plan_and_store)
    (running,) = http.get(f"{JOBS}/{job['id']}").json()["evaluations"]
    runs = [running["base_run_id"], running["tuned_run_id"]]
    with run_work():
        for id in runs:
            wait_for_end(openai, openai.evals.runs.retrieve(id, eval_id=parent.id))
    answered = [
        item.datasource_item["output"]
        for id in runs
        for item in openai.evals.runs.output_items.list(id, eval_id=parent.id)
    ]
    assert answered == ["first", "first"]


def store_completion(sessions: SessionMaker, project_id: str, text: str) -> None:
    answer = completion("base") | {"id": f"chatcmpl-{text}"}
    answer["choices"][0]["message"]["content"] = text
    request = {"messages": [{"role": "user", "content": "Hi"}]}
    with transaction(sessions) as session:
        save(
            session,
            project_id,
            request=orjson.dumps(request),
            response=orjson.dumps(answer),
            answer=answer,
            metadata={},
        )


def test_jobs_that_wait_take_turns(
    http: httpx.Client,
    api: Api,
    sessions: SessionMaker,
    file_id: str,
    eval_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs = [create_job(http, file_id, eval_id)["id"] for _ in range(2)]
    for id in jobs:
        with transaction(sessions) as session:
            values = {"state": "succeeded", "finished_at": func.clock_timestamp()}
            session.execute(update(Job).where(Job.id == id).values(values))
    monkeypatch.setattr(attached, "BATCH_SIZE", 1)
    monkeypatch.setattr(attached.runs, "MAX_OPEN_RUNS", 0)
    found = []
    for _ in range(3):
        with transaction(sessions) as session:
            (due,) = attached.find_due(session)
        found.append(due)
        advance(api, sessions, due)
    assert found == [jobs[0], jobs[1], jobs[0]]


def test_one_comparison_is_made_at_a_time(
    sessions: SessionMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attached, "find_due", lambda session: ["waits", "ends", "next"])
    advanced = []

    def advance(_session: Any, job_id: str) -> bool:
        advanced.append(job_id)
        return job_id == "ends"

    reconciler = Reconciler(sessions, grace_period_seconds=60, advance_evaluations=advance)
    assert reconciler.run()
    assert advanced == ["waits", "ends"]


def test_scores_are_read_without_the_content(
    openai: OpenAI, sessions: SessionMaker, eval_id: str
) -> None:
    (run,) = openai.evals.runs.list(eval_id).data
    names = ["first", "second"]
    with transaction(sessions) as session:
        # Items that an older version wrote have their scores in the content only.
        session.execute(update(EvalOutputItem).values(scores=null()))
        old = item_scores.read(session, run.id, names)
        session.rollback()
    with transaction(sessions) as session:
        session.execute(update(EvalOutputItem).values(content=b"not read"))
        read = item_scores.read(session, run.id, names)
        session.rollback()
    assert read == old
    assert read.passed == {0: 1.0, 1: 0.0, 2: 0.0}
    assert read.scores["first"] == {0: 1.0, 1: 0.0, 2: 0.0}


def test_items_that_are_gone_are_not_compared() -> None:
    gone = {"results": [], "sample": {"error": {"code": "item_gone"}}}
    failed = {"results": [], "sample": {"error": {"code": "server_error"}}}
    assert (item_scores.list_scores(gone), item_scores.list_scores(failed)) == ([], [None])


def test_an_eval_that_is_deleted_meanwhile_is_an_error_of_the_evaluation(
    api: Api,
    http: httpx.Client,
    openai: OpenAI,
    sessions: SessionMaker,
    file_id: str,
    eval_id: str,
) -> None:
    job = create_job(http, file_id, eval_id)
    succeed(sessions, job["id"])
    openai.evals.delete(eval_id)
    advance(api, sessions, job["id"])
    read = http.get(f"{JOBS}/{job['id']}").json()
    assert read["status"] == "succeeded"
    (failed,) = read["evaluations"]
    assert (failed["status"], failed["result"]) == ("failed", None)
    assert "deleted" in failed["error"]
    event = http.get(f"{JOBS}/{job['id']}/events").json()["data"][0]
    assert (event["level"], "was not computed" in event["message"]) == ("warn", True)


def test_runs_wait_while_the_project_has_too_many(
    api: Api,
    http: httpx.Client,
    sessions: SessionMaker,
    file_id: str,
    eval_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = create_job(http, file_id, eval_id)
    succeed(sessions, job["id"])
    monkeypatch.setattr(attached.runs, "MAX_OPEN_RUNS", 1)
    advance(api, sessions, job["id"])
    assert http.get(f"{JOBS}/{job['id']}").json()["evaluations"][0]["status"] == "queued"
    with transaction(sessions) as session:
        # Neither of the two was left behind.
        assert session.scalars(select(func.count()).select_from(EvalRun)).one() == 1
    monkeypatch.undo()
    advance(api, sessions, job["id"])
    assert http.get(f"{JOBS}/{job['id']}").json()["evaluations"][0]["status"] == "in_progress"


def test_invalid_requests(http: httpx.Client, openai: OpenAI, file_id: str) -> None:
    parent = openai.evals.create(**build_body())
    bodies = [
        ({"model": "base", "evaluations": [{"eval_id": "eval_no"}]}, "evaluations[0].eval_id"),
        ({"model": "base", "evaluations": [{"eval_id": parent.id}]}, "evaluations[0].eval_id"),
        (
            {
                "model": "small-encoder",
                "method": {"type": "classification"},
                "evaluations": [{"eval_id": parent.id}],
            },
            "evaluations",
        ),
        ({"model": "base", "evaluations": [{"eval_id": "x"}] * 6}, "evaluations"),
    ]
    for body, param in bodies:
        response = http.post(JOBS, json={"training_file": file_id, **body})
        assert expect_error(response, 400)["param"] == param
