"""Eval runs by the runner of work, beside the live API and its fake engine."""

import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from openai import OpenAI
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.db import clock
from app.db.session import SessionMaker, transaction
from app.db.tables import (
    EvalOutputItem,
    EvalRun,
    EvalRunState,
    Project,
    TokenUsage,
    UsageKind,
    WorkList,
    WorkResult,
)
from app.evals import deletion
from app.evals import runs as run_service
from app.files import quota
from app.operations import archived_projects, reconciler
from app.organization import projects
from app.work.runner import WorkRunner
from tests.app.evals.test_routes import CUSTOM, EVALS, EXACT, LABEL, SIMILAR, build_body
from tests.app.http.test_admission import expect_error
from tests.live_api import Account
from tests.live_server import FakeEngine, completion
from tests.polling import wait_until
from tests.work_runner import RunWork

ENDED = ("completed", "failed", "canceled")
HELLO = {"ticket": "Hi", "team": "Hello"}
OTHER = {"ticket": "Hi", "team": "Bye"}
ASK = {
    "type": "template",
    "template": [{"role": "user", "content": "Which team: {{ item.ticket }}"}],
}


def content(*items: Any) -> dict[str, Any]:
    return {"type": "file_content", "content": [{"item": item} for item in items]}


def sampled(source: dict[str, Any], **changes: Any) -> dict[str, Any]:
    base = {"type": "completions", "model": "base", "source": source, "input_messages": ASK}
    return base | changes


def given(*rows: tuple[dict[str, Any], str]) -> dict[str, Any]:
    rows_ = [{"item": item, "sample": {"output_text": text}} for item, text in rows]
    return {"type": "jsonl", "source": {"type": "file_content", "content": rows_}}


def start(openai: OpenAI, data_source: dict[str, Any], *criteria: Any, **options: Any) -> Any:
    parent = openai.evals.create(**build_body(*criteria))
    return openai.evals.runs.create(parent.id, data_source=data_source, **options)  # type: ignore[arg-type]


def upload(http: httpx.Client, text: bytes) -> dict[str, Any]:
    """A data source of a file. OpenAI's strict client does not know the purpose in responses."""
    files = {"file": ("items.jsonl", text)}
    uploaded = http.post("/v1/files", data={"purpose": "evals"}, files=files).json()
    return {"type": "jsonl", "source": {"type": "file_id", "id": uploaded["id"]}}


def wait_for_end(openai: OpenAI, run: Any) -> Any:
    def get() -> Any:
        return openai.evals.runs.retrieve(run.id, eval_id=run.eval_id)

    wait_until("the run has ended", lambda: get().status in ENDED)
    wait_until("the run is summed up", lambda: get().result_counts is not None)
    return get()


def list_items(openai: OpenAI, run: Any, **options: Any) -> list[Any]:
    return list(openai.evals.runs.output_items.list(run.id, eval_id=run.eval_id, **options))


@pytest.mark.parametrize("number", [1e300, 2**64, -(2**63) - 1])
def test_numbers_beyond_64_bits_are_graded(
    openai: OpenAI, runner: WorkRunner, number: float
) -> None:
    run = start(openai, given(({**HELLO, "number": number}, "Hello")), EXACT)
    done = wait_for_end(openai, run)
    assert done.status == "completed"
    assert done.result_counts.passed == 1
    (item,) = list_items(openai, run)
    assert item.datasource_item["number"] == pytest.approx(number)


def test_a_model_is_sampled_and_graded(
    openai: OpenAI, runner: WorkRunner, engine: FakeEngine, session: Session
) -> None:
    run = start(
        openai,
        sampled(content(HELLO, OTHER), sampling_params={"max_completion_tokens": 9}),
        EXACT,
        SIMILAR,
        name="first",
        metadata={"a": "b"},
    )
    assert (run.status, run.model, run.name) == ("queued", "base", "first")
    done = wait_for_end(openai, run)
    assert (done.status, done.metadata) == ("completed", {"a": "b"})
    assert done.result_counts.to_dict() == {"total": 2, "errored": 0, "failed": 1, "passed": 1}
    results = [each.to_dict() for each in done.per_testing_criteria_results]
    assert [(each["passed"], each["failed"]) for each in results] == [(1, 1), (1, 1)]
    (usage,) = done.per_model_usage
    assert usage.to_dict() == {
        "model_name": "base",
        "invocation_count": 2,
        "prompt_tokens": 2,
        "completion_tokens": 2,
        "total_tokens": 4,
        "cached_tokens": 0,
    }
    first, second = list_items(openai, run)
    assert (first.status, second.status) == ("pass", "fail")
    assert (first.datasource_item_id, first.datasource_item) == (0, HELLO)
    sample = first.sample
    assert [each.to_dict() for each in sample.input] == [
        {"role": "user", "content": "Which team: Hi"}
    ]
    assert sample.output[0].content == "Hello"
    assert (sample.finish_reason, sample.model, sample.max_completion_tokens) == ("stop", "base", 9)
    assert [(each.passed, each.type) for each in first.results] == [
        (True, "string_check"),
        (True, "text_similarity"),
    ]
    assert engine.bodies[0]["seed"] == 42
    fetched = openai.evals.runs.output_items.retrieve(first.id, eval_id=run.eval_id, run_id=run.id)
    assert fetched.to_dict() == first.to_dict()
    recorded = session.execute(
        select(func.sum(TokenUsage.requests), func.sum(TokenUsage.input_tokens))
    ).one()
    assert tuple(recorded) == (2, 2)
    assert session.scalars(select(WorkList)).all() == []


@pytest.mark.usefixtures("in_process")
def test_items_of_a_file_bring_their_samples(
    openai: OpenAI, http: httpx.Client, runner: WorkRunner
) -> None:
    lines = [
        {"item": HELLO, "sample": {"output_text": "Hello"}},
        {"item": HELLO, "sample": {"choices": [{"message": {"content": "Hello"}}]}},
        {"item": OTHER},
    ]
    text = "".join(json.dumps(line) + "\n\n" for line in lines) + "no JSON\n"
    run = start(openai, upload(http, text.encode()))
    done = wait_for_end(openai, run)
    assert (done.status, done.model) == ("completed", "")
    assert done.result_counts.to_dict() == {"total": 4, "errored": 2, "failed": 0, "passed": 2}
    items = list_items(openai, run)
    assert [item.status for item in items] == ["pass", "pass", "error", "error"]
    assert items[0].sample.output[0].content == "Hello"
    error = items[2].results[0].to_dict()["error"]
    assert error["code"] == "invalid_variable"
    assert items[3].sample.error.code == "invalid_json"


@pytest.mark.usefixtures("in_process")
def test_faults_are_those_of_the_item(openai: OpenAI, runner: WorkRunner) -> None:
    broken = {"ticket": "x", "team": "Hello", "content": "too long"}
    messages = {"type": "item_reference", "item_reference": "item.messages"}
    good = HELLO | {"messages": [{"role": "user", "content": "Hi"}]}
    bad = HELLO | {"messages": [{"role": "user", "content": "too long"}]}
    body = build_body(data_source_config=CUSTOM | {"item_schema": {}})
    parent = openai.evals.create(**body)
    run = openai.evals.runs.create(
        parent.id,
        data_source=sampled(content(good, bad, broken), input_messages=messages),  # type: ignore[arg-type]
    )
    done = wait_for_end(openai, run)
    assert done.status == "completed"
    assert done.result_counts.to_dict() == {"total": 3, "errored": 2, "failed": 0, "passed": 1}
    codes = [item.sample.error.code for item in list_items(openai, run)]
    assert codes == ["", "context_length_exceeded", "invalid_variable"]


@pytest.mark.usefixtures("in_process")
def test_a_judge_is_asked(openai: OpenAI, runner: WorkRunner) -> None:
    """The fake engine's judge answers with no label."""
    done = wait_for_end(openai, run := start(openai, given((HELLO, "Hello")), LABEL))
    assert done.result_counts.errored == 1
    (item,) = list_items(openai, run)
    result = item.results[0].to_dict()
    assert result["error"]["code"] == "invalid_judgement"
    assert result["sample"]["output"] == [{"role": "assistant", "content": "Hello"}]
    assert done.per_model_usage[0].invocation_count == 1


@pytest.mark.usefixtures("in_process")
def test_labels_and_translations_are_measured_together(
    openai: OpenAI, http: httpx.Client, runner: WorkRunner
) -> None:
    texts = {"input": "{{ sample.output_text }}", "reference": "{{ item.team }}"}
    labels = {"type": "classification", "name": "team", **texts}
    translation = {"type": "translation", "name": "words", "pass_threshold": 0.5, **texts}
    parent = http.post(EVALS, json=build_body(labels, translation)).json()
    rows = [(HELLO, "Hello"), (OTHER, "Hello"), (OTHER, "Bye")]
    run = openai.evals.runs.create(parent["id"], data_source=given(*rows))  # type: ignore[arg-type]
    done = wait_for_end(openai, run)
    first, second = (each.to_dict() for each in done.per_testing_criteria_results)
    metrics: Any = first["metrics"]
    assert (metrics["accuracy"], metrics["f1_macro"]) == (0.6667, 0.6667)
    assert metrics["per_label"]["Bye"]["recall"] == 0.5
    assert set(second["metrics"]) == {"bleu", "chrf"}


@pytest.mark.usefixtures("in_process")
def test_each_item_counts_once_when_the_work_is_taken_over(
    openai: OpenAI, run_work: RunWork, session: Session
) -> None:
    items = [HELLO | {"ticket": str(number)} for number in range(60)]
    run = start(openai, sampled(content(*items)))
    with run_work():
        counted = select(func.count()).select_from(WorkResult)
        filed = select(func.count()).select_from(EvalOutputItem)

        def is_begun() -> bool:
            session.rollback()
            return session.scalars(counted).one() + session.scalars(filed).one() > 0

        wait_until("some items are done", is_begun)
    with run_work():
        done = wait_for_end(openai, run)
    assert done.result_counts.to_dict() == {"total": 60, "errored": 0, "failed": 0, "passed": 60}
    assert [item.datasource_item_id for item in list_items(openai, run)] == list(range(60))
    assert done.per_model_usage[0].invocation_count == 60


@pytest.mark.parametrize("path", ["", "/cancel"])
@pytest.mark.usefixtures("in_process")
def test_a_cancelled_run_keeps_its_results(
    openai: OpenAI, http: httpx.Client, run_work: RunWork, path: str
) -> None:
    run = start(openai, sampled(content(HELLO)))
    canceled = http.post(f"{EVALS}/{run.eval_id}/runs/{run.id}{path}").json()
    assert canceled["status"] == "canceled"
    assert canceled["result_counts"]["total"] == 0
    with run_work():
        assert wait_for_end(openai, run).status == "canceled"
    again = openai.evals.runs.cancel(run.id, eval_id=run.eval_id)
    assert again.status == "canceled"


@pytest.mark.usefixtures("in_process")
def test_a_file_without_items_fails_the_run(
    openai: OpenAI, http: httpx.Client, runner: WorkRunner
) -> None:
    done = wait_for_end(openai, start(openai, upload(http, b"\n\n")))
    assert (done.status, done.error.code) == ("failed", "invalid_file")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": "nobody"}, None),
        ({"model": "encoder"}, "data_source.model"),
        ({"source": {"type": "file_id", "id": "file-x"}}, "data_source.source.id"),
        ({"source": content()}, "data_source.source.content"),
        ({"sampling_params": {"temperature": 3}}, "data_source.sampling_params.temperature"),
        (
            {"sampling_params": {"max_completion_tokens": True}},
            "data_source.sampling_params.max_completion_tokens",
        ),
        (
            {"sampling_params": {"reasoning_effort": "x" * 5000}},
            "data_source.sampling_params.reasoning_effort",
        ),
        (
            {"sampling_params": {"response_format": {"type": "json_schema"}}},
            "data_source.sampling_params.response_format",
        ),
        (
            {
                "sampling_params": {
                    "tools": [{"type": "function", "function": {"name": "a b"}}],
                }
            },
            "data_source.sampling_params.tools[0].function.name",
        ),
        (
            {"input_messages": {"type": "item_reference", "item_reference": "item.x"}},
            "data_source.input_messages.item_reference",
        ),
        (
            {
                "input_messages": {
                    "type": "template",
                    "template": [{"role": "user", "content": "{{ sample.output_text }}"}],
                }
            },
            "data_source.input_messages.template[0].content",
        ),
    ],
)
def test_invalid_requests(
    http: httpx.Client, openai: OpenAI, change: dict[str, Any], param: str | None
) -> None:
    parent = openai.evals.create(**build_body())
    body = {"data_source": sampled(content(HELLO)) | change}
    response = http.post(f"{EVALS}/{parent.id}/runs", json=body)
    assert expect_error(response, 404 if param is None else 400)["param"] == param


@pytest.mark.usefixtures("in_process")
def test_runs_are_listed_filtered_and_deleted(
    openai: OpenAI, http: httpx.Client, run_work: RunWork, session: Session
) -> None:
    run = start(openai, given((HELLO, "Hello"), (OTHER, "Hello")))
    with run_work():
        wait_for_end(openai, run)
    waiting = openai.evals.runs.create(run.eval_id, data_source=given((HELLO, "x")))  # type: ignore[arg-type]
    runs = openai.evals.runs
    assert [each.id for each in runs.list(run.eval_id)] == [run.id, waiting.id]
    assert [each.id for each in runs.list(run.eval_id, status="completed")] == [run.id]
    assert [each.id for each in runs.list(run.eval_id, order="desc", limit=1)] == [
        waiting.id,
        run.id,
    ]
    with pytest.MonkeyPatch.context() as patch:
        # A page ends before what would take too much memory is loaded.
        patch.setattr(run_service, "MAX_PAGE_BYTES", 1)
        page = http.get(f"{EVALS}/{run.eval_id}/runs").json()
    assert ([each["id"] for each in page["data"]], page["has_more"]) == ([run.id], True)
    assert [item.status for item in list_items(openai, run, status="fail", limit=1)] == ["fail"]
    assert [item.datasource_item_id for item in list_items(openai, run, order="desc")] == [1, 0]
    deleted = runs.delete(run.id, eval_id=run.eval_id).to_dict()
    assert deleted == {"object": "eval.run.deleted", "deleted": True, "run_id": run.id}
    path = f"{EVALS}/{run.eval_id}/runs/{run.id}"
    assert expect_error(http.get(path), 404)["code"] == "run_not_found"
    assert deletion.delete_items(session, limit=9) == 2
    openai.evals.delete(run.eval_id)
    assert session.scalars(select(WorkList)).all() == []
    assert deletion.delete_run_rows(session, days=0, limit=9) == 2
    assert deletion.delete_rows(session, days=0, limit=9) == 1


NUL_ANSWER = completion("base") | {
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "a\0b"},
            "finish_reason": "stop",
        }
    ]
}
# The fake engine answers so, if the first message asks for it.
ASK_NUL = [
    {"role": "system", "content": f"answer 200 {json.dumps(NUL_ANSWER)}"},
    {"role": "user", "content": "{{ item.ticket }}"},
]
TEAM = {
    "type": "classification",
    "name": "team",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.team }}",
}


@pytest.mark.usefixtures("in_process")
def test_a_nul_of_a_model_is_kept(openai: OpenAI, http: httpx.Client, runner: WorkRunner) -> None:
    parent = http.post(EVALS, json=build_body(TEAM)).json()
    messages = {"type": "template", "template": ASK_NUL}
    source = sampled(content(HELLO), input_messages=messages)
    run = openai.evals.runs.create(parent["id"], data_source=source)  # type: ignore[arg-type]
    done = wait_for_end(openai, run)
    assert done.result_counts.to_dict() == {"total": 1, "errored": 0, "failed": 1, "passed": 0}
    assert "a\0b" in done.per_testing_criteria_results[0].to_dict()["metrics"]["per_label"]
    (item,) = list_items(openai, run)
    assert item.sample.output[0].content == "a\0b"


@pytest.mark.usefixtures("in_process")
def test_models_are_counted_by_their_own_names_and_kinds(
    openai: OpenAI, runner: WorkRunner, session: Session
) -> None:
    cosine = {**SIMILAR, "name": "meaning", "evaluation_metric": "cosine"}
    judge = {**LABEL, "model": "owner/base"}
    run = start(openai, given(({"ticket": "", "team": "vector"}, "vector")), cosine, judge)
    done = wait_for_end(openai, run)
    used = [(each.run_model_name, each.prompt_tokens) for each in done.per_model_usage]
    assert used == [("base", 1), ("encoder", 5)]
    rows = select(TokenUsage.model, TokenUsage.kind, TokenUsage.input_tokens, TokenUsage.is_batch)
    assert {tuple(row) for row in session.execute(rows)} == {
        ("base", UsageKind.COMPLETIONS, 1, True),
        ("encoder", UsageKind.EMBEDDINGS, 5, True),
    }
    sampled_run = start(openai, sampled(content(HELLO), model="gpt-4o-mini"))
    assert sampled_run.model == "base"
    done = wait_for_end(openai, sampled_run)
    assert [each.run_model_name for each in done.per_model_usage] == ["base"]


@pytest.mark.usefixtures("in_process")
def test_what_an_unfinished_run_used_is_recorded_when_it_is_deleted(
    openai: OpenAI, run_work: RunWork, session: Session
) -> None:
    messages = {"type": "item_reference", "item_reference": "item.messages"}
    items = [
        {"messages": [{"role": "user", "content": text}]} for text in ("Hi", "wait", "Hi", "Hi")
    ]
    parent = openai.evals.create(**build_body(data_source_config=CUSTOM | {"item_schema": {}}))
    source = sampled(content(*items), input_messages=messages)
    run = openai.evals.runs.create(parent.id, data_source=source)  # type: ignore[arg-type]
    with run_work():
        wait_until(
            "three are done",
            lambda: openai.evals.runs.retrieve(run.id, eval_id=parent.id).result_counts.total == 3,
        )
        openai.evals.runs.delete(run.id, eval_id=parent.id)
    assert session.scalars(select(TokenUsage.requests)).all() == [3]
    assert session.scalars(select(WorkList)).all() == []


@pytest.mark.usefixtures("in_process")
def test_stored_bytes_are_counted_and_released(
    openai: OpenAI, run_work: RunWork, sessions: SessionMaker, account: Account
) -> None:
    project_id = account.principal.project_id
    run = start(openai, given((HELLO, "Hello"), (OTHER, "Hello")))
    with run_work():
        wait_for_end(openai, run)
    with transaction(sessions) as session:
        items = session.scalars(select(func.sum(EvalOutputItem.bytes))).one()
        assert items > 500
        source = session.scalars(select(EvalRun.bytes)).one()
        assert source > 200
        stored = items + source
        assert quota.get_usage(session, project_id).bytes == stored
        quota.recount(session)
        assert quota.get_usage(session, project_id).bytes == stored
    openai.evals.runs.delete(run.id, eval_id=run.eval_id)
    with transaction(sessions) as session:
        assert deletion.delete_items(session, limit=9) == 2
        assert quota.get_usage(session, project_id).bytes == 0


@pytest.mark.usefixtures("in_process")
def test_one_whose_items_do_not_fit_in_the_quota_fails(
    openai: OpenAI, http: httpx.Client, run_work: RunWork, sessions: SessionMaker
) -> None:
    run = start(openai, given(*[(HELLO, "Hello " * 20_000)] * 3))
    with transaction(sessions) as session:
        session.execute(update(Project).values(max_storage_bytes=100_000))
    with run_work():
        done = wait_for_end(openai, run)
    assert (done.status, done.error.code) == ("failed", "storage_quota_exceeded")
    with transaction(sessions) as session:
        session.execute(update(Project).values(max_storage_bytes=1))
    body = {"data_source": given((HELLO, "Hello"))}
    response = http.post(f"{EVALS}/{run.eval_id}/runs", json=body)
    assert expect_error(response, 400)["code"] == "storage_quota_exceeded"


@pytest.mark.usefixtures("in_process")
def test_an_expired_run_keeps_its_results(
    openai: OpenAI, run_work: RunWork, sessions: SessionMaker
) -> None:
    run = start(openai, given((HELLO, "Hello")))
    with transaction(sessions) as session:
        expires_at, created_at = session.execute(
            select(WorkList.expires_at, WorkList.created_at)
        ).one()
        assert timedelta(hours=23) < expires_at - created_at < timedelta(hours=25)
        session.execute(update(WorkList).values(expires_at=clock.seconds_from_now(-1)))
    reconciler.build_per_job_task(reconciler.lists.find_expired, reconciler.expire_work)(sessions)
    with run_work():
        done = wait_for_end(openai, run)
    assert (done.status, done.error.code) == ("failed", "run_expired")


@pytest.mark.usefixtures("in_process")
def test_runs_of_an_archived_project_are_canceled_and_erased(
    openai: OpenAI, run_work: RunWork, sessions: SessionMaker, account: Account, session: Session
) -> None:
    run = start(openai, given((HELLO, "Hello")))
    with transaction(sessions) as archiving:
        project = archiving.get_one(Project, account.principal.project_id)
        projects.archive(archiving, project.organization_id, project.id)

    def get() -> EvalRun:
        session.rollback()
        return session.get_one(EvalRun, run.id)

    assert get().state == EvalRunState.CANCELED
    with run_work():
        wait_until("the run is summed up", lambda: get().totals is not None)
    assert archived_projects.delete_eval_runs(session, days=1, limit=9) == 0
    assert archived_projects.delete_eval_runs(session, days=0, limit=9) == 1
    session.commit()
    assert get().data_source == {}


@pytest.mark.usefixtures("in_process")
def test_runs_that_ended_long_ago_are_erased(
    openai: OpenAI, run_work: RunWork, session: Session
) -> None:
    run = start(openai, given((HELLO, "Hello")))
    waiting = openai.evals.runs.create(run.eval_id, data_source=given((HELLO, "x")))  # type: ignore[arg-type]
    assert deletion.erase_old_runs(session, days=0, limit=9) == 0
    openai.evals.runs.cancel(waiting.id, eval_id=run.eval_id)
    with run_work():
        wait_for_end(openai, run)
        wait_until("both are summed up", lambda: session.scalars(select(WorkList)).all() == [])
    assert deletion.erase_old_runs(session, days=1, limit=9) == 0
    assert deletion.erase_old_runs(session, days=0, limit=9) == 2
