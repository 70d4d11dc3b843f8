"""Training files from stored chat completions, and feedback on these, over a fake engine."""

import json
from typing import Any

import httpx
import pytest
from openai import OpenAI
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.tables import File, Project, StoredCompletion
from app.files import quota
from app.stored_completions import training_files
from tests.app.http.test_admission import expect_error
from tests.app.stored_completions.test_routes import store
from tests.live_api import Account, Api
from tests.live_server import FakeEngine

PATH = "/v1/files/from_stored_completions"
FEEDBACK = "/v1/models/base/feedback"


@pytest.fixture(autouse=True)
def _engine(engine: FakeEngine) -> None:
    """Every test has a fresh engine."""


def make(http: httpx.Client, **body: Any) -> dict[str, Any]:
    response = http.post(PATH, json=body)
    assert response.status_code == 200, response.text
    made: dict[str, Any] = response.json()
    return made


def read_rows(openai: OpenAI, file_id: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in openai.files.content(file_id).text.splitlines()]


def give_feedback(http: httpx.Client, *items: dict[str, Any]) -> dict[str, Any]:
    response = http.post(FEEDBACK, json={"feedback": list(items)})
    assert response.status_code == 200, response.text
    receipt: dict[str, Any] = response.json()
    return receipt


def ids_of(rows: list[dict[str, Any]]) -> list[str]:
    """The ids that the fake engine was asked to answer with."""
    return [json.loads(row["messages"][0]["content"].split(" ", 2)[2])["id"] for row in rows]


def test_the_newest_that_match(openai: OpenAI, http: httpx.Client) -> None:
    for number in range(4):
        store(openai, f"chatcmpl-{number}", metadata={"odd": str(number % 2)})
    made = make(http, model="gpt-4o-mini", metadata={"odd": "1"})
    assert (made["object"], made["purpose"], made["status"]) == ("file", "fine-tune", "processed")
    assert (made["examples"], made["skipped"], made["first_skipped"]) == (2, 0, [])
    file = openai.files.retrieve(made["id"])
    assert file.bytes == made["bytes"]
    rows = read_rows(openai, made["id"])
    assert ids_of(rows) == ["chatcmpl-3", "chatcmpl-1"], "newest first"
    assert rows[0]["messages"][-1] == {"role": "assistant", "content": "Hi"}
    assert ids_of(read_rows(openai, make(http, limit=3)["id"])) == [
        "chatcmpl-3",
        "chatcmpl-2",
        "chatcmpl-1",
    ]


def test_over_several_pages(
    openai: OpenAI, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        store(openai, f"chatcmpl-{number}")
    whole = read_rows(openai, make(http)["id"])
    monkeypatch.setattr(training_files, "PAGE_ROWS", 2)
    assert read_rows(openai, make(http)["id"]) == whole
    assert len(read_rows(openai, make(http, limit=3)["id"])) == 3
    monkeypatch.setattr(training_files, "MAX_PAGE_BYTES", 1)
    assert read_rows(openai, make(http)["id"]) == whole


def test_what_is_skipped_is_named(openai: OpenAI, http: httpx.Client) -> None:
    message = {"role": "assistant", "content": "Once upon a", "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "length", "logprobs": None}
    body = {"id": "chatcmpl-cut", "object": "chat.completion", "created": 1, "model": "base"}
    prompt: Any = [
        {"role": "user", "content": f"answer 200 {json.dumps(body | {'choices': [choice]})}"}
    ]
    openai.chat.completions.create(model="base", messages=prompt, store=True)
    error = expect_error(http.post(PATH, json={}), 400)
    assert "None of the 1 matching" in str(error["message"])
    assert "chatcmpl-cut: The answer was cut off" in str(error["message"])
    store(openai, "chatcmpl-whole")
    made = make(http)
    assert (made["examples"], made["skipped"]) == (1, 1)
    assert made["first_skipped"][0]["id"] == "chatcmpl-cut"


def test_nothing_matches(http: httpx.Client, session: Session, account: Account) -> None:
    error = expect_error(http.post(PATH, json={"model": "base"}), 400)
    assert "No stored chat completion matches" in str(error["message"])
    assert session.scalars(select(File)).all() == []
    assert quota.get_usage(session, account.principal.project_id) == quota.Usage(0, 0)


def test_another_project_gets_nothing(openai: OpenAI, other_tenant: httpx.Client) -> None:
    store(openai, "chatcmpl-a")
    expect_error(other_tenant.post(PATH, json={}), 400)
    item = {"id": "chatcmpl-a", "rating": "good"}
    expect_error(other_tenant.post(FEEDBACK, json={"feedback": [item]}), 404)


def test_a_completion_deleted_meanwhile_is_in_no_file(
    openai: OpenAI, http: httpx.Client, api: Api, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        store(openai, f"chatcmpl-{name}")
    check = training_files.check_unchanged

    def delete_first(*arguments: Any) -> None:
        openai.chat.completions.delete("chatcmpl-a")
        check(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training_files, "check_unchanged", delete_first)
        error = expect_error(http.post(PATH, json={}), 503)
    assert "Nothing was stored" in str(error["message"])
    assert session.scalars(select(File)).all() == []
    assert len(read_rows(openai, make(http)["id"])) == 1


def test_the_quota_holds(
    openai: OpenAI, http: httpx.Client, session: Session, account: Account
) -> None:
    store(openai, "chatcmpl-a")
    openai.chat.completions.list()
    used = quota.get_usage(session, account.principal.project_id).bytes
    session.get_one(Project, account.principal.project_id).max_storage_bytes = used + 20
    session.commit()
    error = expect_error(http.post(PATH, json={}), 400)
    assert error["code"] == "storage_quota_exceeded"


@pytest.mark.parametrize(
    "body", [{"limit": 0}, {"limit": 50_001}, {"feedback": "any"}, {"metadata": [1]}, {"x": 1}]
)
def test_invalid_requests(http: httpx.Client, body: dict[str, Any]) -> None:
    expect_error(http.post(PATH, json=body), 400)


class TestFeedback:
    def test_files_by_feedback(self, openai: OpenAI, http: httpx.Client) -> None:
        for name in ("plain", "good", "bad", "wrong"):
            store(openai, f"chatcmpl-{name}")
        receipt = give_feedback(
            http,
            {"id": "chatcmpl-good", "rating": "good"},
            {"id": "chatcmpl-bad", "rating": "bad"},
            {"id": "chatcmpl-wrong", "rating": "bad", "correction": "Hello!"},
        )
        assert (receipt["received"], receipt["changed"]) == (3, 3)
        everything = read_rows(openai, make(http)["id"])
        assert ids_of(everything) == [f"chatcmpl-{name}" for name in ("wrong", "good", "plain")]
        assert everything[0]["messages"][-1]["content"] == "Hello!"
        assert ids_of(read_rows(openai, make(http, feedback="good")["id"])) == ["chatcmpl-good"]
        corrected = read_rows(openai, make(http, feedback="corrected")["id"])
        assert ids_of(corrected) == ["chatcmpl-wrong"]
        (pair,) = read_rows(openai, make(http, feedback="preference")["id"])
        assert pair["preferred_output"] == [{"role": "assistant", "content": "Hello!"}]
        assert pair["non_preferred_output"] == [{"role": "assistant", "content": "Hi"}]

    def test_it_is_shown_and_counted(
        self, openai: OpenAI, http: httpx.Client, session: Session, account: Account
    ) -> None:
        store(openai, "chatcmpl-a")
        project_id = account.principal.project_id
        assert "feedback" not in http.get("/v1/chat/completions/chatcmpl-a").json()
        before = quota.get_usage(session, project_id).bytes
        give_feedback(http, {"id": "chatcmpl-a", "correction": "Good day"})
        give_feedback(http, {"id": "chatcmpl-a", "rating": "good"})
        again = give_feedback(http, {"id": "chatcmpl-a", "rating": "good"})
        assert again["changed"] == 0, "the same again changes nothing"
        correction = {"role": "assistant", "content": "Good day"}
        expected = {"rating": "good", "correction": correction}
        assert http.get("/v1/chat/completions/chatcmpl-a").json()["feedback"] == expected
        (listed,) = http.get("/v1/chat/completions").json()["data"]
        assert listed["feedback"] == expected
        session.commit()
        assert quota.get_usage(session, project_id).bytes > before
        quota.recount(session)
        row = session.scalars(select(StoredCompletion)).one()
        assert quota.get_usage(session, project_id).bytes == row.bytes

    def test_all_or_nothing(self, openai: OpenAI, http: httpx.Client) -> None:
        store(openai, "chatcmpl-a")
        items = [{"id": "chatcmpl-a", "rating": "good"}, {"id": "chatcmpl-x", "rating": "good"}]
        error = expect_error(http.post(FEEDBACK, json={"feedback": items}), 404)
        assert error["param"] == "feedback[1].id"
        assert "feedback" not in http.get("/v1/chat/completions/chatcmpl-a").json()

    def test_one_item_for_each_completion(self, openai: OpenAI, http: httpx.Client) -> None:
        store(openai, "chatcmpl-a")
        items = [{"id": "chatcmpl-a", "rating": rating} for rating in ("good", "bad")]
        error = expect_error(http.post(FEEDBACK, json={"feedback": items}), 400)
        assert error["param"] == "feedback[1].id"
        assert "feedback" not in http.get("/v1/chat/completions/chatcmpl-a").json()

    def test_a_call_for_a_request_without_tools(self, openai: OpenAI, http: httpx.Client) -> None:
        store(openai, "chatcmpl-a")
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        item = {"id": "chatcmpl-a", "correction": {"tool_calls": [call]}}
        error = expect_error(http.post(FEEDBACK, json={"feedback": [item]}), 400)
        assert error["param"] == "feedback[0].correction"
        assert '"f" is called' in str(error["message"])

    @pytest.mark.parametrize("correction", ["", " \n", {"content": ""}])
    def test_an_empty_correction(self, openai: OpenAI, http: httpx.Client, correction: Any) -> None:
        store(openai, "chatcmpl-a")
        items = [{"id": "chatcmpl-a", "correction": correction}]
        error = expect_error(http.post(FEEDBACK, json={"feedback": items}), 400)
        assert error["param"] == "feedback[0].correction"
        assert "is empty" in str(error["message"])

    @pytest.mark.parametrize(
        ("correction", "param"),
        [
            ({"role": "user", "content": "x"}, "feedback[0].correction.role"),
            ({"content": 1}, "feedback[0].correction.content"),
            (1, "feedback[0].correction"),
        ],
    )
    def test_errors_name_the_field(self, http: httpx.Client, correction: Any, param: str) -> None:
        items = [{"id": "chatcmpl-a", "correction": correction}]
        error = expect_error(http.post(FEEDBACK, json={"feedback": items}), 400)
        assert error["param"] == param

    def test_a_call_that_the_request_does_not_offer(self, http: httpx.Client) -> None:
        tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
        prompt = [{"role": "user", "content": "hello"}]
        body = {"model": "base", "messages": prompt, "tools": [tool], "store": True}
        completion_id = http.post("/v1/chat/completions", json=body).json()["id"]
        call = {"id": "c", "type": "function", "function": {"name": "g", "arguments": "{}"}}
        item = {"id": completion_id, "correction": {"tool_calls": [call]}}
        error = expect_error(http.post(FEEDBACK, json={"feedback": [item]}), 400)
        assert error["param"] == "feedback[0].correction"
        assert '"g" is called' in str(error["message"])
        call["function"] = {"name": "f", "arguments": "{}"}
        assert give_feedback(http, item)["changed"] == 1

    @pytest.mark.parametrize(
        "item",
        [
            {"id": "a"},
            {"id": "a", "rating": "good", "label": "x"},
            {"id": "a", "rating": "great"},
            {"id": "a", "rating": "good", "index": 1},
            {"id": "a", "correction": {"role": "user", "content": "x"}},
        ],
    )
    def test_invalid_items(self, http: httpx.Client, item: dict[str, Any]) -> None:
        expect_error(http.post(FEEDBACK, json={"feedback": [item]}), 400)

    def test_labels_and_ratings_in_one_request(self, http: httpx.Client) -> None:
        items = [{"id": "a", "rating": "good"}, {"id": "b", "label": "x"}]
        expect_error(http.post(FEEDBACK, json={"feedback": items}), 400)
