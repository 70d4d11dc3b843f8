"""Sources of eval runs: stored completions, and the parameters of the Responses API."""

from typing import Any

import httpx
import orjson
import pytest
from openai import OpenAI
from sqlalchemy import delete

from app.db.session import SessionMaker, transaction
from app.db.tables import StoredCompletion
from app.evals.item_reader import ItemReader
from app.stored_completions.service import save
from tests.app.evals.test_routes import EVALS, EXACT, build_body
from tests.app.evals.test_runs import ASK, HELLO, content, list_items, sampled, wait_for_end
from tests.app.http.test_admission import expect_error
from tests.live_api import Account
from tests.live_server import FakeEngine, completion
from tests.work_runner import RunWork

LOGS = {"type": "logs", "metadata": {"task": "greet"}}
# The answer is compared with the one that was stored.
SAME = EXACT | {"name": "same", "reference": "{{ item.output }}"}
HELLO_OUT = EXACT | {"name": "greeting", "reference": "Hello"}


@pytest.fixture
def stored(sessions: SessionMaker, account: Account) -> list[str]:
    """Three completions, of which the second has other metadata; ids, oldest first."""
    ids = [f"chatcmpl-{number}" for number in range(3)]
    for number, id in enumerate(ids):
        answer = completion("base") | {"id": id}
        answer["choices"][0]["message"]["content"] = ("Hello", "x", "Bye")[number]
        request = {"messages": [{"role": "user", "content": f"Hi {number}"}]}
        with transaction(sessions) as session:
            save(
                session,
                account.principal.project_id,
                request=orjson.dumps(request),
                response=orjson.dumps(answer),
                answer=answer,
                metadata={"task": "other" if number == 1 else "greet", "n": str(number)},
            )
    return ids


def create(openai: OpenAI, criterion: Any, source: dict[str, Any], **sampling: Any) -> Any:
    parent = openai.evals.create(**build_body(criterion, data_source_config=LOGS))
    data_source: Any = {"type": "completions", "source": source, **sampling}
    return openai.evals.runs.create(parent.id, data_source=data_source)


@pytest.mark.usefixtures("in_process", "stored")
def test_stored_answers_are_graded(openai: OpenAI, run_work: RunWork, engine: FakeEngine) -> None:
    run = create(openai, HELLO_OUT, {"type": "stored_completions"})
    with run_work():
        done = wait_for_end(openai, run)
    assert (done.status, done.model) == ("completed", "")
    assert done.result_counts.to_dict() == {"total": 2, "errored": 0, "failed": 1, "passed": 1}
    first, second = list_items(openai, run)
    assert first.datasource_item["input"] == [{"role": "user", "content": "Hi 0"}]
    assert [each.sample.output[0].content for each in (first, second)] == ["Hello", "Bye"]
    assert engine.bodies == []


@pytest.mark.usefixtures("in_process", "stored")
def test_stored_requests_are_sampled_again_by_another_model(
    openai: OpenAI, run_work: RunWork, engine: FakeEngine
) -> None:
    source = {"type": "stored_completions", "metadata": {"n": "2"}, "model": "gpt-4o-mini"}
    run = create(openai, SAME, source, model="base")
    with run_work():
        done = wait_for_end(openai, run)
    # The model answers "Hello", the stored answer is "Bye".
    assert done.result_counts.to_dict() == {"total": 1, "errored": 0, "failed": 1, "passed": 0}
    assert [body["messages"] for body in engine.bodies] == [[{"role": "user", "content": "Hi 2"}]]


@pytest.mark.usefixtures("in_process")
def test_completions_that_are_deleted_meanwhile_are_items_with_an_error(
    openai: OpenAI, run_work: RunWork, sessions: SessionMaker, stored: list[str]
) -> None:
    run = create(openai, HELLO_OUT, {"type": "stored_completions", "limit": 1, "created_after": 1})
    plan = ItemReader.plan

    def plan_and_delete(reader: ItemReader, run_id: str) -> Any:
        ranges = plan(reader, run_id)
        with transaction(sessions) as session:
            session.execute(delete(StoredCompletion).where(StoredCompletion.id == stored[2]))
        return ranges

    with pytest.MonkeyPatch.context() as patch, run_work():
        patch.setattr(ItemReader, "plan", plan_and_delete)
        done = wait_for_end(openai, run)
    assert done.result_counts.to_dict() == {"total": 1, "errored": 1, "failed": 0, "passed": 0}
    (item,) = list_items(openai, run)
    assert item.sample.error.code == "item_gone"


@pytest.mark.usefixtures("in_process", "stored")
def test_a_run_without_a_matching_completion_fails(openai: OpenAI, run_work: RunWork) -> None:
    run = create(openai, HELLO_OUT, {"type": "stored_completions", "created_before": 1})
    with run_work():
        done = wait_for_end(openai, run)
    assert (done.status, done.error.code) == ("failed", "no_items")


@pytest.mark.usefixtures("in_process")
def test_parameters_of_the_responses_api_are_those_of_a_chat(
    openai: OpenAI, run_work: RunWork, engine: FakeEngine
) -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    form = {"type": "json_schema", "name": "team", "schema": schema, "strict": True}
    tool = {"type": "function", "name": "look_up", "parameters": schema, "strict": True}
    params = {"text": {"format": form}, "tools": [tool], "max_completion_tokens": 9, "seed": 7}
    parts = [{"type": "input_text", "text": "Hi"}]
    item = HELLO | {"input": [{"role": "user", "content": parts}]}
    source = sampled(
        content(item),
        type="responses",
        sampling_params=params,
        input_messages={"type": "item_reference", "item_reference": "item.input"},
    )
    config = {"type": "custom", "item_schema": {}, "include_sample_schema": True}
    parent = openai.evals.create(**build_body(data_source_config=config))
    run = openai.evals.runs.create(parent.id, data_source=source)  # type: ignore[arg-type]
    with run_work():
        done = wait_for_end(openai, run)
    assert done.result_counts.to_dict() == {"total": 1, "errored": 0, "failed": 0, "passed": 1}
    (body,) = engine.bodies
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    assert body["response_format"]["json_schema"] == {
        "name": "team",
        "schema": schema,
        "strict": True,
    }
    assert body["tools"][0]["function"] == {"name": "look_up", "parameters": schema, "strict": True}
    assert body["seed"] == 7


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"source": {"type": "stored_completions"}}, "data_source.source.type"),
        (
            {"type": "responses", "source": {"type": "responses"}},
            "data_source.source.type",
        ),
        (
            {"type": "responses", "sampling_params": {"tools": [{"type": "web_search"}]}},
            "data_source.sampling_params.tools[0].type",
        ),
        ({"model": None}, "data_source.model"),
        # Its default is a field that the items do not have.
        ({"input_messages": None}, "data_source.input_messages.item_reference"),
    ],
)
def test_invalid_sources(
    http: httpx.Client, openai: OpenAI, change: dict[str, Any], param: str
) -> None:
    parent = openai.evals.create(**build_body())
    body = {"data_source": sampled(content(HELLO), input_messages=ASK) | change}
    response = http.post(f"{EVALS}/{parent.id}/runs", json=body)
    assert expect_error(response, 400)["param"] == param
