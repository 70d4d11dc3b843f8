"""The items' schema: checked when an eval is created, and items by it when a run begins."""

from typing import Any

import httpx
import pytest
from openai import BadRequestError, OpenAI
from sqlalchemy import update
from sqlalchemy.orm import Session

from app.cpu_pool.pool import CpuPool
from app.cpu_pool.protocol import Task, TaskTimeout
from app.db.tables import Eval
from app.evals import data_sources
from app.evals.item_schema import find_fault, run_schema_task
from app.evals.schemas import CustomDataSource
from app.inference.unattended_requests import UnattendedRequests
from app.work.kinds import ItemPostponed
from tests.app.evals.conftest import InProcessPool
from tests.app.evals.test_routes import CUSTOM, EVALS, build_body
from tests.app.evals.test_runs import content, list_items, sampled, upload, wait_for_end
from tests.app.http.test_admission import expect_error
from tests.live_server import FakeEngine
from tests.work_runner import RunWork

SCHEMA = {
    "type": "object",
    "properties": {
        "ticket": {"type": "string"},
        "team": {"type": "string"},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}},
    },
    "required": ["ticket"],
    "$defs": {"tag": {"type": "string", "pattern": "^[a-z]+$"}},
}
GOOD = {"ticket": "Hi", "team": "Hello", "tags": ["new"]}
# Each level doubles the time of the one below it.
SLOW: dict[str, Any] = {
    "$ref": "#/$defs/level0",
    "$defs": {
        **{f"level{n}": {"allOf": [{"$ref": f"#/$defs/level{n + 1}"}] * 2} for n in range(60)},
        "level60": {"type": "object"},
    },
}


def create(http: httpx.Client, schema: dict[str, Any]) -> httpx.Response:
    return http.post(EVALS, json=build_body(data_source_config=CUSTOM | {"item_schema": schema}))


class TestSchema:
    @pytest.mark.parametrize(
        ("schema", "place", "problem"),
        [
            ({"properties": {"a": {"type": "strin"}}}, ".properties.a.type", "is not valid under"),
            ({"required": "a"}, ".required", 'is not of type "array"'),
            ({"anyOf": [{"minimum": "1"}]}, ".anyOf[0].minimum", 'is not of type "number"'),
            ({"$ref": "https://example.com/schema"}, "", "Retrieval is disabled"),
            ({"$ref": "file:///etc/hostname"}, "", "Retrieval is disabled"),
            ({"$ref": "#/$defs/missing"}, "", "does not exist"),
            ({"$schema": "https://example.com/draft"}, "", "Unknown meta-schema"),
            ({"pattern": "(?=a)a"}, ".pattern", 'is not a "regex"'),
            ({"pattern": "((a{1000}){1000}){1000}"}, ".pattern", 'is not a "regex"'),
        ],
    )
    def test_one_that_is_none(
        self, http: httpx.Client, schema: dict[str, Any], place: str, problem: str
    ) -> None:
        error = expect_error(create(http, schema), 400)
        assert error["param"] == f"data_source_config.item_schema{place}"
        assert error["code"] == "invalid_value"
        assert problem in error["message"]
        assert "Expected a JSON schema" in error["message"]
        assert http.get(EVALS).json()["data"] == []

    @pytest.mark.parametrize("schema", [SCHEMA, {}, {"$ref": "#"}, {"allOf": [{"$ref": "#"}]}])
    def test_any_other(self, http: httpx.Client, schema: dict[str, Any]) -> None:
        assert create(http, schema).status_code == 201

    def test_a_pattern_takes_linear_time(self) -> None:
        fault = find_fault({"properties": {"a": {"pattern": "^(a+)+$"}}}, [{"a": "a" * 9999 + "b"}])
        assert fault is not None
        assert (fault.index, fault.path) == (0, ["a"])


class TestItemsOfARequest:
    @pytest.mark.parametrize("kind", ["jsonl", "completions"])
    @pytest.mark.parametrize(
        ("item", "place", "problem"),
        [
            ({"team": "a"}, "", '"ticket" is a required property'),
            (GOOD | {"ticket": 3}, ".ticket", 'the value is not of type "string"'),
            (GOOD | {"tags": ["ok", "No"]}, ".tags[1]", 'does not match "^[a-z]+$"'),
        ],
    )
    def test_one_that_does_not_match(
        self,
        openai: OpenAI,
        http: httpx.Client,
        kind: str,
        item: dict[str, Any],
        place: str,
        problem: str,
    ) -> None:
        parent = create(http, SCHEMA).json()["id"]
        source: Any = content(GOOD, item)
        data: Any = {"type": "jsonl", "source": source} if kind == "jsonl" else sampled(source)
        with pytest.raises(BadRequestError) as raised:
            openai.evals.runs.create(parent, data_source=data)
        assert raised.value.param == f"data_source.source.content[1].item{place}"
        assert problem in raised.value.message
        assert "must match the 'item_schema' of its eval" in raised.value.message
        assert openai.evals.runs.list(parent).data == []

    def test_those_that_match(self, openai: OpenAI, http: httpx.Client) -> None:
        parent = create(http, SCHEMA).json()["id"]
        source: Any = {"type": "jsonl", "source": content(GOOD, GOOD | {"more": 1})}
        assert openai.evals.runs.create(parent, data_source=source).status == "queued"

    def test_a_check_that_would_not_end(
        self, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The schema itself is soon read."""
        parent = create(http, SLOW)
        assert parent.status_code == 201
        call = CpuPool.call

        async def call_briefly(*arguments: Any, timeout_seconds: float) -> bytes:
            assert timeout_seconds == 5, "the check has a limit of its own"
            return await call(*arguments, timeout_seconds=0.2)

        monkeypatch.setattr(CpuPool, "call", call_briefly)
        body = {"data_source": {"type": "jsonl", "source": content(GOOD)}}
        run = http.post(f"{EVALS}/{parent.json()['id']}/runs", json=body)
        error = expect_error(run, 400)
        assert error["param"] == "data_source.source"
        assert "takes too much time or memory" in error["message"]

    def test_of_an_eval_that_is_unknown(self, http: httpx.Client) -> None:
        body = {"data_source": {"type": "jsonl", "source": content(GOOD)}}
        assert expect_error(http.post(f"{EVALS}/eval_none/runs", json=body), 404)


@pytest.mark.usefixtures("in_process")
def test_a_line_of_a_file_that_does_not_match_is_its_own_error(
    openai: OpenAI, http: httpx.Client, engine: FakeEngine, run_work: RunWork
) -> None:
    """And no model is asked for it."""
    parent = create(http, SCHEMA).json()["id"]
    lines = b'{"item": {"ticket": "Hi", "team": "Hello"}}\n{"item": {"tags": [1], "ticket": ""}}\n'
    source: Any = sampled(upload(http, lines)["source"])
    run = openai.evals.runs.create(parent, data_source=source)
    with run_work():
        done = wait_for_end(openai, run)
    assert done.result_counts.to_dict() == {"total": 2, "errored": 1, "failed": 0, "passed": 1}
    _, wrong = list_items(openai, run)
    assert wrong.sample.error.code == "invalid_item"
    assert "Invalid 'item.tags[0]': the value is not of type" in wrong.sample.error.message
    assert len(engine.bodies) == 1


LINES = b'{"item": {"ticket": "Hi", "team": "Hello"}}\n' * 3


@pytest.mark.usefixtures("in_process")
class TestLinesOfAFile:
    def run(self, openai: OpenAI, http: httpx.Client) -> Any:
        parent = create(http, SCHEMA).json()["id"]
        source: Any = sampled(upload(http, LINES)["source"])
        return openai.evals.runs.create(parent, data_source=source)

    def test_a_schema_that_is_slow_is_tried_once(
        self,
        openai: OpenAI,
        http: httpx.Client,
        run_work: RunWork,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        timeouts = []

        async def call(self: Any, owner: str, task: Task, payload: bytes, **options: Any) -> bytes:
            if task is run_schema_task:
                timeouts.append(options["timeout_seconds"])
                raise TaskTimeout("A task took over 5 seconds.")
            raise AssertionError("an item that was not checked is graded")

        monkeypatch.setattr(InProcessPool, "call", call)
        run = self.run(openai, http)
        with run_work():
            done = wait_for_end(openai, run)
        assert done.result_counts.errored == 3
        assert timeouts == [5], "other items wait for nothing, and no longer than a request"
        for item in list_items(openai, run):
            assert "takes too much time or memory" in item.sample.error.message

    def test_an_item_that_is_postponed_is_not_checked_again(
        self,
        openai: OpenAI,
        http: httpx.Client,
        run_work: RunWork,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        call = InProcessPool.call
        checked = []
        refused = []

        async def call_and_note(
            self: Any, owner: str, task: Task, payload: bytes, **options: Any
        ) -> bytes:
            if task is run_schema_task:
                checked.append(payload)
            return await call(self, owner, task, payload, **options)

        async def answer_later(self: Any, *arguments: Any) -> Any:
            if len(refused) < 3:
                refused.append(arguments)
                raise ItemPostponed
            return await answer(self, *arguments)

        answer = UnattendedRequests.answer
        monkeypatch.setattr(UnattendedRequests, "answer", answer_later)
        monkeypatch.setattr(InProcessPool, "call", call_and_note)
        run = self.run(openai, http)
        with run_work():
            done = wait_for_end(openai, run)
        assert done.result_counts.errored == 0
        assert (len(refused), len(checked)) == (3, 3)

    def test_the_fault_of_a_schema_is_not_the_item_s(
        self, openai: OpenAI, http: httpx.Client, session: Session, run_work: RunWork
    ) -> None:
        """As of evals that are older than the check."""
        run = self.run(openai, http)
        source = CustomDataSource(
            type="custom", item_schema={"properties": {"a": {"type": "strin"}}}
        )
        config = data_sources.build_config(source)
        session.execute(update(Eval).values(data_source_config=config))
        session.commit()
        with run_work():
            done = wait_for_end(openai, run)
        assert done.result_counts.errored == 3
        for item in list_items(openai, run):
            message = item.sample.error.message
            assert message.startswith("The items cannot be checked by this eval's 'item_schema'")
            assert "Create an eval with another schema" in message
