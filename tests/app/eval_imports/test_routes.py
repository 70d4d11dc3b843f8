"""POST /v1/evals/import: exports of OpenAI's evals and promptfoo configs through the API."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.cpu_pool.pool import CpuPool
from app.cpu_pool.protocol import TaskCrashed
from app.db.tables import Eval, File
from app.eval_imports import service
from app.eval_imports.checks import PlanChecker
from app.eval_imports.schemas import MAX_CONTENT_CHARS
from app.files import quota
from tests.app.evals.test_routes import EVALS, EXACT, LABEL, MULTI, SCORE, SIMILAR, build_body
from tests.app.evals.test_runs import HELLO, content, list_items, sampled, wait_for_end
from tests.app.http.test_admission import expect_error
from tests.live_api import Account, Api
from tests.work_runner import RunWork

PATH = "/v1/evals/import"
CONFIG = Path(__file__).with_name("promptfooconfig.yaml")
HELLO_CONFIG: dict[str, Any] = {
    "prompts": ["Say {{word}}"],
    "providers": ["openai:base"],
    "tests": [
        {"vars": {"word": "Hello"}, "assert": [{"type": "equals", "value": "{{word}}"}]},
        {"vars": {"word": "Bye"}, "assert": [{"type": "equals", "value": "{{word}}"}]},
    ],
}


def import_(http: httpx.Client, document: Any, **options: Any) -> Any:
    content = document if isinstance(document, str) else json.dumps(document)
    response = http.post(PATH, json={"content": content, **options})
    assert response.status_code == 201, response.text
    return response.json()


def refuse(http: httpx.Client, document: Any, status: int = 400, **options: Any) -> Any:
    content = document if isinstance(document, str) else json.dumps(document)
    return expect_error(http.post(PATH, json={"content": content, **options}), status)


def without_ids(criteria: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in each.items() if key != "id"} for each in criteria]


def count(session: Session) -> list[int]:
    session.rollback()
    return [session.scalar(select(func.count()).select_from(table)) or 0 for table in (Eval, File)]


class TestOpenAI:
    @pytest.mark.parametrize("dump", ["to_json", "model_dump_json", "model_dump"])
    def test_what_the_sdk_dumps_of_an_eval(
        self, openai: OpenAI, http: httpx.Client, dump: str
    ) -> None:
        """With the Python SDK's own names too, and null for what was left out."""
        criteria: Any = (EXACT, SIMILAR, SCORE, LABEL)
        first = openai.evals.create(name="t", metadata={"a": "b"}, **build_body(*criteria))
        dumped = getattr(openai.evals.retrieve(first.id), dump)()
        imported = import_(http, dumped)
        assert (imported["object"], imported["format"]) == ("eval.import", "openai")
        (only,) = imported["data"]
        second = http.get(f"{EVALS}/{only['eval']['id']}").json()
        assert second == only["eval"]
        assert (only["file"], only["runs"], imported["differences"]) == (None, [], [])
        original = http.get(f"{EVALS}/{first.id}").json()
        for name in ("name", "metadata", "data_source_config"):
            assert second[name] == original[name]
        assert without_ids(second["testing_criteria"]) == without_ids(original["testing_criteria"])

    def test_a_page_with_runs_whose_items_become_files(
        self, openai: OpenAI, http: httpx.Client
    ) -> None:
        parent = openai.evals.create(**build_body())
        sources: list[Any] = [sampled(content(HELLO)), sampled(content(HELLO), model="base")]
        runs = [
            openai.evals.runs.create(parent.id, data_source=source, name="r") for source in sources
        ]
        logs = openai.evals.create(
            data_source_config={"type": "logs", "metadata": {"use": "chat"}},
            testing_criteria=[EXACT],  # type: ignore[list-item]
        )
        page = {
            "object": "list",
            "data": [each.to_dict() for each in openai.evals.list().data],
            "has_more": False,
        }
        page["data"] += [run.to_dict() for run in runs]
        imported = import_(http, page)
        assert imported["differences"] == []
        first, second = imported["data"]
        assert second["eval"]["data_source_config"]["type"] == "logs"
        assert second["eval"]["data_source_config"]["metadata"] == {"use": "chat"}
        assert logs.id != second["eval"]["id"]
        one, two = first["runs"]
        assert one["data_source"]["source"] == two["data_source"]["source"], "the same items"
        assert (one["name"], one["data_source"]["model"]) == ("r", "base")
        file = one["data_source"]["source"]["id"]
        assert http.get(f"/v1/files/{file}").json()["purpose"] == "evals"
        lines = http.get(f"/v1/files/{file}/content").text.splitlines()
        assert [json.loads(line) for line in lines] == [{"item": HELLO}]
        created = http.post(f"{EVALS}/{first['eval']['id']}/runs", json=one)
        assert created.status_code == 201, created.text

    def test_what_has_no_counterpart_is_named(self, http: httpx.Client) -> None:
        row = {
            "object": "eval",
            "id": "eval_1",
            "name": "n" * 5000,
            "metadata": {"a": 1},
            "data_source_config": {
                "type": "custom",
                "schema": {"type": "object", "properties": {"item": {}, "sample": {}}},
            },
            "testing_criteria": [
                {**EXACT, "id": "x", "image_tag": None},
                {"type": "python", "name": "p", "source": "def grade(): ..."},
                {**LABEL, "model": "gpt-4.1"},
                {**EXACT, "reference": "{{ nothing }}"},
                3,
            ],
            "share_with_openai": True,
            "runs": [
                {"data_source": {"type": "jsonl", "source": {"type": "file_id", "id": "file-1"}}},
                {"data_source": {"type": "jsonl", "source": {"type": "file_content"}}},
                {"data_source": sampled(content(HELLO), model="gpt-4.1"), "tags": ["a"]},
                {"data_source": {"type": "responses", "source": {"type": "responses"}}},
            ],
        }
        other = {"object": "eval.run", "eval_id": "eval_2", "data_source": {}}
        imported = import_(http, [row, other, {"object": "file"}, "eval_3"])
        (only,) = imported["data"]
        assert len(only["eval"]["testing_criteria"]) == 1
        assert (only["eval"]["name"], only["eval"]["metadata"]) == ("", None)
        (run,) = only["runs"]
        assert "model" not in run["data_source"]
        named = {each["places"][0]: each["reason"] for each in imported["differences"]}
        assert "does not run clients' programs" in named["[0].testing_criteria[1]"]
        assert "judge 'gpt-4.1' is not here" in named["[0].testing_criteria[2]"]
        assert "nothing" in named["[0].testing_criteria[3]"]
        assert named["[0].testing_criteria[4]"] == "It is no object."
        assert "Upload it" in named["[0].runs[0]"]
        assert "does not have its items" in named["[0].runs[1]"]
        assert "'gpt-4.1' is not here" in named["[0].runs[2]"]
        assert "stored responses cannot be read" in named["[0].runs[3]"]
        assert named["[1]"] == "Its eval is not in the export."
        assert named["[2]"] == "It is neither an eval nor a run."
        assert named["[3]"] == "It is no object."
        subjects = {each["subject"] for each in imported["differences"]}
        assert {
            "name",
            "metadata",
            "'share_with_openai' of evals",
            "'tags' of runs",
        } <= subjects

    def test_a_judge_can_stand_in(self, http: httpx.Client) -> None:
        row = build_body(
            {**LABEL, "model": "gpt-4.1"},
            {**MULTI, "graders": {"exact": EXACT, "tone": {**LABEL, "model": "gpt-5"}}},
        )
        schema = {"type": "object", "properties": {"item": {"type": "object"}, "sample": {}}}
        row["data_source_config"] = {"type": "custom", "schema": schema}
        imported = import_(http, row, judge_model="owner/base")
        label, multi = imported["data"][0]["eval"]["testing_criteria"]
        assert label["model"] == multi["graders"]["tone"]["model"] == "owner/base"
        assert [each["outcome"] for each in imported["differences"]] == ["changed", "changed"]
        error = refuse(http, row, 404, judge_model="nobody")
        assert error["code"] == "model_not_found"
        assert refuse(http, row, judge_model="encoder")["param"] == "judge_model"

    def test_an_eval_whose_schema_is_none(self, http: httpx.Client) -> None:
        row = build_body()
        item = {"type": "object", "properties": {"team": {"type": "strin"}}}
        row["data_source_config"] = {
            "type": "custom",
            "schema": {"properties": {"item": item, "sample": {}}},
        }
        error = refuse(http, row)
        assert error["param"] == "content"
        assert "item_schema.properties.team.type" in error["message"]

    def test_ids_that_are_no_texts(self, http: httpx.Client) -> None:
        row = build_body() | {"id": []}
        row["data_source_config"] = {
            "type": "custom",
            "schema": {"properties": {"item": {}, "sample": {}}},
        }
        run = {"eval_id": {}, "data_source": {}}
        imported = import_(http, [row, run, {"data_source": {}}])
        (difference,) = imported["differences"]
        assert difference["reason"] == "Its eval is not in the export."
        assert difference["places"] == ["[1]", "[2]"]

    def test_a_crash_is_not_called_a_lack_of_time(
        self, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def crash(*_arguments: Any) -> bytes:
            raise TaskCrashed("KeyError: 'x'")

        monkeypatch.setattr(CpuPool, "call", crash)
        assert "its log says why" in refuse(http, [build_body()])["message"]

    def test_criteria_are_counted_before_they_are_checked(
        self, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        checked: list[str] = []
        monkeypatch.setattr(
            PlanChecker, "_check_criterion", lambda *arguments: checked.append(arguments[-1])
        )
        row = build_body() | {"testing_criteria": [EXACT] * 21}
        row["data_source_config"] = {
            "type": "custom",
            "schema": {"properties": {"item": {}, "sample": {}}},
        }
        assert "It has more than 20 criteria" in refuse(http, row)["message"]
        assert checked == []

    def test_schemas_share_their_time(
        self, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(service, "MAX_SCHEMA_SECONDS", -1)
        row = build_body()
        row["data_source_config"] = {
            "type": "custom",
            "schema": {"properties": {"item": {}, "sample": {}}},
        }
        assert "take too long to check" in refuse(http, row)["message"]


class TestPromptfoo:
    def test_it_can_be_run_as_it_is(
        self, openai: OpenAI, http: httpx.Client, run_work: RunWork
    ) -> None:
        imported = import_(http, HELLO_CONFIG)
        assert (imported["format"], imported["differences"]) == ("promptfoo", [])
        (only,) = imported["data"]
        assert only["file"]["purpose"] == "evals"
        (body,) = only["runs"]
        run = openai.evals.runs.create(only["eval"]["id"], **body)
        with run_work():
            done = wait_for_end(openai, run)
        assert done.result_counts.to_dict() == {"total": 2, "errored": 0, "failed": 1, "passed": 1}
        asked = [item.sample.input[0].content for item in list_items(openai, run)]
        assert asked == ["Say Hello", "Say Bye"]

    def test_a_whole_config(self, http: httpx.Client) -> None:
        imported = import_(http, CONFIG.read_text(), judge_model="base")
        assert [each["eval"]["name"] for each in imported["data"]] == [
            "Capitals (1 of 2)",
            "Capitals (2 of 2)",
        ]
        outcomes = [(each["outcome"], each["subject"]) for each in imported["differences"]]
        assert ("left_out", "javascript") in outcomes
        assert ("changed", "judge") in outcomes
        runs = imported["data"][0]["runs"]
        assert [run["data_source"].get("model") for run in runs] == ["base", None] * 2

    def test_criteria_without_a_judge_are_left_out(self, http: httpx.Client) -> None:
        rubric = {"type": "llm-rubric", "value": "Is kind"}
        config = {"tests": [{"assert": [{"type": "equals", "value": "x"}, rubric]}]}
        imported = import_(http, config)
        assert len(imported["data"][0]["eval"]["testing_criteria"]) == 1
        (difference,) = [each for each in imported["differences"] if each["outcome"] == "left_out"]
        assert difference["subject"] == "label_model"
        assert "It names no judge. Send 'judge_model'" in difference["reason"]
        assert import_(http, config, judge_model="base")["differences"] != []


class TestRefusals:
    @pytest.mark.parametrize(
        ("document", "problem"),
        [
            ("a: [", "neither JSON nor YAML"),
            ("just a text", "neither an export of OpenAI's evals nor a config"),
            ("[]", "Nothing of 'content' can be imported"),
            ({"object": "eval"}, "It is neither an eval nor a run"),
            ({"tests": []}, "Nothing of 'content' can be imported"),
            ({"tests": "file://tests.csv"}, "They are in another file"),
            (
                {"tests": [{"assert": [{"type": "javascript", "value": "true"}]}]},
                "javascript in tests[0].assert[0]: This service runs no programs",
            ),
        ],
    )
    def test_nothing_that_can_be_imported(
        self, http: httpx.Client, session: Session, document: Any, problem: str
    ) -> None:
        error = refuse(http, document)
        assert (error["param"], error["code"]) == ("content", "invalid_value")
        assert problem in error["message"]
        assert count(session) == [0, 0]

    def test_fields(self, http: httpx.Client) -> None:
        assert refuse(http, "")["param"] == "content"
        assert refuse(http, "{}", format="xml")["param"] == "format"
        assert refuse(http, "{}", more=1)["code"] == "unknown_parameter"
        long = " " * (MAX_CONTENT_CHARS + 1)
        assert http.post(PATH, json={"content": long}).status_code in (400, 413)
        assert refuse(http, HELLO_CONFIG, format="openai")["param"] == "content"

    def test_a_full_project_keeps_nothing(
        self, http: httpx.Client, api: Api, account: Account, session: Session
    ) -> None:
        quota.set_limits(session, account.principal.project_id, max_bytes=10)
        session.commit()
        assert refuse(http, HELLO_CONFIG)["code"] == "storage_quota_exceeded"
        assert count(session) == [0, 0]


def test_it_is_done_once(http: httpx.Client, session: Session) -> None:
    body = {"content": json.dumps(HELLO_CONFIG)}
    headers = {"Idempotency-Key": "once"}
    first, again = (http.post(PATH, json=body, headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert count(session) == [1, 1]


def test_other_projects_see_nothing(http: httpx.Client, other_tenant: httpx.Client) -> None:
    imported = import_(http, HELLO_CONFIG)["data"][0]
    assert other_tenant.get(f"{EVALS}/{imported['eval']['id']}").status_code == 404
    assert other_tenant.get(f"/v1/files/{imported['file']['id']}").status_code == 404


def test_an_eval_may_not_be_called_import(http: httpx.Client) -> None:
    """Ids of evals have a prefix: the route hides none."""
    assert expect_error(http.get(PATH), 404)["code"] == "eval_not_found"
