"""Previews of training files: pages of rows, errors in place, rows as an engine renders them."""

import json
from typing import Any

import httpx
import pytest
from openai import OpenAI

from app.training_data import reading, row_page
from tests.live_api import Api
from tests.live_server import FakeEngine


def chat(text: str, **answer: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, **answer}
    return {"messages": [{"role": "user", "content": text}, message]}


def upload(openai: OpenAI, content: str | list[Any], *, purpose: Any = "fine-tune") -> str:
    text = content if isinstance(content, str) else "\n".join(map(json.dumps, content))
    return openai.files.create(file=("rows.jsonl", text.encode()), purpose=purpose).id


def preview(http: httpx.Client, file_id: str, **params: Any) -> dict[str, Any]:
    response = http.get(f"/v1/files/{file_id}/preview", params=params)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def error(http: httpx.Client, file_id: str, **params: Any) -> tuple[int, dict[str, Any]]:
    response = http.get(f"/v1/files/{file_id}/preview", params=params)
    return response.status_code, response.json()["error"]


def read_all(http: httpx.Client, file_id: str, **params: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    after = None
    while True:
        page = preview(http, file_id, **params, **({} if after is None else {"after": after}))
        rows += page["data"]
        if not page["has_more"]:
            return rows
        after = page["last_id"]


def test_rows_come_without_a_model(http: httpx.Client, openai: OpenAI, engine: FakeEngine) -> None:
    page = preview(http, upload(openai, [chat("1"), chat("2")]))
    assert page["format"] == "chat"
    assert [page[name] for name in ("model", "method", "max_tokens", "thinking")] == [None] * 4
    assert [row["row"] for row in page["data"]] == [chat("1"), chat("2")]
    assert [row["rendered"] for row in page["data"]] == [None, None]
    assert engine.bodies == []


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_have_every_row_once(http: httpx.Client, openai: OpenAI, limit: int) -> None:
    lines = [json.dumps(chat(str(number))) for number in range(7)]
    file_id = upload(openai, "\n \n".join(lines[:4]) + "\r\n\n" + "\n".join(lines[4:]))
    rows = read_all(http, file_id, limit=limit)
    assert [row["row"] for row in rows] == [chat(str(number)) for number in range(7)]
    assert [row["line"] for row in rows] == [1, 3, 5, 7, 9, 10, 11]
    assert [row["example"] for row in rows] == [1, 2, 3, 4, 5, 6, 7]


def test_pages_do_not_depend_on_the_bytes_read_at_once(
    http: httpx.Client, openai: OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "FIRST_BYTES", 10)
    file_id = upload(openai, [chat(str(number) * 40) for number in range(7)])
    rows = read_all(http, file_id, limit=3)
    assert [row["row"] for row in rows] == [chat(str(number) * 40) for number in range(7)]


def test_a_large_row_is_alone_on_its_page(http: httpx.Client, openai: OpenAI) -> None:
    large = chat("n" * row_page.MAX_PAGE_BYTES)
    file_id = upload(openai, [chat("1"), large, chat("2")])
    assert [row["line"] for row in preview(http, file_id)["data"]] == [1]
    assert [row["line"] for row in preview(http, file_id, after="1")["data"]] == [2]
    assert [row["line"] for row in read_all(http, file_id)] == [1, 2, 3]


def test_a_page_may_begin_behind_any_line(http: httpx.Client, openai: OpenAI) -> None:
    file_id = upload(openai, "\n\n".join(json.dumps(chat(str(number))) for number in range(5)))
    after = {0: 1, 1: 3, 2: 3, 3: 5, 8: 9}
    for line, first in after.items():
        assert preview(http, file_id, after=str(line), limit=1)["data"][0]["line"] == first
    page = preview(http, file_id, after="9")
    assert (page["data"], page["has_more"], page["last_id"]) == ([], False, None)


@pytest.mark.parametrize("after", ["x", "1:2", "-1", "1:5:1", "1:99999:1", "9" * 20, "1:2:3:4"])
def test_a_cursor_that_no_page_gave_is_an_error(
    http: httpx.Client, openai: OpenAI, after: str
) -> None:
    status, body = error(http, upload(openai, [chat("1"), chat("2")]), after=after)
    assert (status, body["param"]) == (400, "after")


def test_invalid_lines_have_their_reason(http: httpx.Client, openai: OpenAI) -> None:
    file_id = upload(openai, f"{json.dumps(chat('1'))}\nnot json\n{json.dumps({'messages': 3})}\n")
    good, broken, wrong = preview(http, file_id)["data"]
    assert good["error"] is None
    assert broken["row"] is None
    assert broken["error"]["line"] == "not json"
    report = http.get(f"/v1/files/{file_id}/validation").json()
    assert [row["error"]["reason"] for row in (broken, wrong)] == [
        each["reason"] for each in report["errors"]
    ]
    # The number is right on later pages too.
    (again,) = preview(http, file_id, after=broken["id"])["data"]
    assert again["error"] == wrong["error"]


def test_a_file_of_another_kind_shows_why(http: httpx.Client, openai: OpenAI) -> None:
    page = preview(http, upload(openai, "a,b\n1,2\n"))
    (row,) = page["data"]
    assert "CSV" in row["error"]["reason"]
    assert page["has_more"] is False


def test_rows_are_rendered_for_a_model(
    http: httpx.Client, openai: OpenAI, engine: FakeEngine
) -> None:
    file_id = upload(openai, [chat("1"), chat("2")])
    page = preview(http, file_id, model="gpt-4o-mini", max_seq_length=64, split="token")
    assert (page["model"], page["method"], page["thinking"]) == ("base", "supervised", False)
    assert page["max_tokens"] == 8192
    assert [row["rendered"]["sequences"][0]["token_count"] for row in page["data"]] == [7, 7]
    (body,) = engine.bodies
    assert body["rows"] == [chat("1"), chat("2")]
    fields = {name: body[name] for name in ("model", "max_tokens", "split", "long_rows")}
    assert fields == {"model": "base", "max_tokens": 64, "split": "token", "long_rows": "truncate"}


def test_invalid_lines_are_not_rendered(
    http: httpx.Client, openai: OpenAI, engine: FakeEngine
) -> None:
    file_id = upload(openai, f"{json.dumps(chat('1'))}\nnot json\n{json.dumps(chat('2'))}\n")
    rows = preview(http, file_id, model="base")["data"]
    assert [row["rendered"] is None for row in rows] == [False, True, False]
    assert engine.bodies[0]["rows"] == [chat("1"), chat("2")]


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (chat("2", reasoning_content="Think."), True),
        (chat("<think>Hm.</think>2"), True),
        (chat("2", reasoning_content="Think.", weight=0), False),
        (chat("<think></think>2"), False),
    ],
)
def test_reasoning_anywhere_in_the_file_decides_the_rendering(
    http: httpx.Client, openai: OpenAI, engine: FakeEngine, last: Any, expected: bool
) -> None:
    file_id = upload(openai, [*(chat("n" * 2000) for _ in range(700)), last, chat("1")])
    assert preview(http, file_id, model="base", limit=1)["thinking"] is expected
    assert engine.bodies[0]["thinking"] is expected


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"model": "unknown"}, None),
        ({"model": "encoder"}, "model"),
        ({"model": "base", "method": "dpo"}, "method"),
        ({"model": "base", "max_seq_length": 9000}, "max_seq_length"),
        ({"model": "base", "max_seq_length": 3}, "max_seq_length"),
        ({"model": "base", "long_rows": "keep"}, "long_rows"),
        ({"max_seq_length": 64}, "max_seq_length"),
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"split": "word"}, "split"),
    ],
)
def test_options_that_no_job_could_have_are_an_error(
    http: httpx.Client, openai: OpenAI, engine: FakeEngine, params: dict[str, Any], param: str
) -> None:
    status, body = error(http, upload(openai, [chat("1")]), **params)
    assert status == (404 if params.get("model") == "unknown" else 400), body
    assert param is None or body["param"] == param
    assert engine.bodies == []


def test_only_training_files_have_a_preview(http: httpx.Client, openai: OpenAI) -> None:
    status, body = error(http, upload(openai, [{"item": {}}], purpose="user_data"))
    assert (status, body["param"]) == (400, "id")


def test_an_engine_that_cannot_render_is_a_503(
    http: httpx.Client, openai: OpenAI, engine: FakeEngine
) -> None:
    file_id = upload(openai, [chat("1")])
    engine.healthy = False
    status, body = error(http, file_id, model="base")
    assert status == 503
    assert "has not been fetched yet" in body["message"]


def test_another_projects_file_is_a_404(
    http: httpx.Client, openai: OpenAI, other_tenant: httpx.Client
) -> None:
    file_id = upload(openai, [chat("1")])
    status, body = error(other_tenant, file_id)
    missing = error(http, "file-missing")
    assert status == missing[0] == 404
    assert body["message"] == missing[1]["message"].replace("file-missing", file_id)


def test_a_lost_content_is_a_404(http: httpx.Client, openai: OpenAI, api: Api) -> None:
    file_id = upload(openai, [chat("1")])
    for key in api.state.store.list("projects/"):
        api.state.store.delete(key)
    assert error(http, file_id)[0] == 404
