"""The screens of files: upload, list, verdict, rows, deletion."""

import json
import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from app.console import fault_marks, row_view
from app.db.session import SessionMaker, transaction
from app.db.tables import Project
from tests.app.console.conftest import find_accessibility_violations
from tests.factories import make_file
from tests.live_api import Account
from tests.live_server import FakeEngine

CHAT = {
    "messages": [
        {"role": "user", "content": "What <b>rhymes</b> with chair?"},
        {"role": "assistant", "content": "Bear."},
    ]
}
GOOD = "\n".join([json.dumps(CHAT)] * 12) + "\n"
BROKEN = GOOD + '{"messages": [{"role": "user", "content": "Hi"} {"role": "x"}]}\n' + GOOD


def upload(http: httpx.Client, text: str, name: str = "train.jsonl") -> str:
    files = {"file": (name, text.encode())}
    created = http.post("/v1/files", data={"purpose": "fine-tune"}, files=files)
    assert created.status_code == 200, created.text
    file_id: str = created.json()["id"]
    return file_id


def lines(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_a_file_is_uploaded_and_opened(user: Page, tmp_path: Path) -> None:
    (tmp_path / "rhymes.jsonl").write_text(GOOD)
    user.goto("/console/files")
    expect(user.get_by_role("heading", name="No files yet")).to_be_visible()
    user.locator('input[type="file"]').set_input_files(tmp_path / "rhymes.jsonl")
    expect(user.locator(".uploads li")).to_contain_text("Ready.")
    # The list shows it without a reload.
    user.locator("#files-list").get_by_role("link", name="rhymes.jsonl").click()
    expect(user.get_by_role("heading", name="rhymes.jsonl")).to_be_visible()
    expect(user.locator(".figures")).to_contain_text("12")
    expect(user.locator(".example")).to_have_count(10)
    # Texts of rows are texts, never markup.
    expect(user.locator(".block-text").first).to_have_text("What <b>rhymes</b> with chair?")
    user.get_by_role("link", name="Next rows").click()
    expect(user.locator(".example")).to_have_count(2)
    expect(user.locator(".example h3").first).to_have_text("Line 11")


def test_an_invalid_file_leads_to_its_wrong_line(user: Page, tmp_path: Path) -> None:
    (tmp_path / "broken.jsonl").write_text(BROKEN)
    user.goto("/console/files")
    user.locator('input[type="file"]').set_input_files(tmp_path / "broken.jsonl")
    expect(user.locator(".uploads li")).to_contain_text("Cannot be used")
    # One click.
    user.locator("#files-list").get_by_role("link", name="broken.jsonl").click()
    expect(user.get_by_text("Line 13", exact=True).first).to_be_visible()
    expect(user.locator(".wrong-line mark")).to_be_in_viewport()
    expect(user.locator(".wrong-line mark")).to_have_text("{")
    assert user.locator(".wrong-line").inner_text().endswith('"role": "x"}]}')


def test_other_wrong_lines_are_loaded_when_opened(user: Page, http: httpx.Client) -> None:
    row = {"messages": [{"role": "user", "content": "Hi", "tone": "kind"}, CHAT["messages"][1]]}
    file_id = upload(http, lines([row] * 3) + GOOD)
    user.goto(f"/console/files/{file_id}")
    expect(user.get_by_role("heading", name="3 lines cannot be used")).to_be_visible()
    user.locator("#line-2 summary").click()
    expect(user.locator("#line-2 mark")).to_have_text('"tone": "kind"')


def test_the_list_is_searched_and_the_search_is_in_the_url(user: Page, http: httpx.Client) -> None:
    upload(http, GOOD, "first.jsonl")
    upload(http, "{}", "second.jsonl")
    user.goto("/console/files")
    user.get_by_label("Search").fill("SECOND")
    expect(user.locator("#files-list tbody tr")).to_have_count(1)
    expect(user).to_have_url(re.compile("search=SECOND"))
    user.reload()
    expect(user.locator("#files-list tbody tr")).to_have_count(1)
    user.goto("/console/files?status=processed")
    expect(user.locator("#files-list")).to_contain_text("first.jsonl")
    expect(user.locator("#files-list")).not_to_contain_text("second.jsonl")


def test_a_list_of_many_files_has_pages(
    user: Page, account: Account, sessions: SessionMaker
) -> None:
    with transaction(sessions) as session:
        project = session.get_one(Project, account.principal.project_id)
        for number in range(51):
            make_file(session, project, filename=f"{number:02}{'-long' * 60}.jsonl")
    user.goto("/console/files")
    expect(user.locator("#files-list tbody tr")).to_have_count(50)
    user.get_by_role("link", name="Next page").click()
    expect(user.locator("#files-list tbody tr")).to_have_count(1)
    # Long names do not widen the page.
    assert user.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_tokens_that_carry_loss_are_marked(
    user: Page, http: httpx.Client, engine: FakeEngine
) -> None:
    user.goto(f"/console/files/{upload(http, GOOD)}")
    user.get_by_label("Show the tokens that carry loss").select_option("base")
    user.get_by_role("button", name="Show").click()
    expect(user.locator(".example .part[data-loss]").first).to_have_text("learned")
    expect(user.locator(".example").first).to_contain_text("7 tokens, 3 with loss")
    user.get_by_role("link", name="Next rows").click()
    expect(user.locator(".example .part[data-loss]")).to_have_count(2)


def test_rows_are_shown_as_they_are_while_the_engine_is_away(
    user: Page, http: httpx.Client, engine: FakeEngine
) -> None:
    engine.healthy = False
    user.goto(f"/console/files/{upload(http, GOOD)}?model=base")
    expect(user.locator("#rows .warning")).to_contain_text("has not been fetched yet")
    expect(user.locator(".block-text").first).to_have_text("What <b>rhymes</b> with chair?")


ENTITIES = {"text": "Ada lives in Bern", "entities": [{"start": 13, "end": 17, "label": "place"}]}
TAGS = {"tokens": ["Ada", "Byron", "sings"], "tags": ["B-name", "I-name", "O"]}
ANSWER = {
    "context": "Bern is the capital.",
    "question": "What is the capital?",
    "answers": {"text": ["Bern"], "answer_start": [0]},
}
PREFERENCE = {
    "input": {"messages": [{"role": "user", "content": "Hi"}]},
    "preferred_output": [{"role": "assistant", "content": "Hello!"}],
    "non_preferred_output": [{"role": "assistant", "content": "What?"}],
}


SHOWN: list[tuple[dict[str, object], str, str]] = [
    ({"text": "good film", "label": "positive"}, ".label-tag", "positive"),
    ({"text": "good film", "labels": []}, ".label-tag", "no label"),
    (ENTITIES, '.part[data-label="place"]', "Bern"),
    (TAGS, '.part[data-label="name"]', "Ada Byron"),
    (ANSWER, '.part[data-label="answer"]', "Bern"),
    (PREFERENCE, '.block[data-kind="rejected"] .block-text', "What?"),
    ({"prompt": "2+2=", "completion": "4"}, '.block[data-kind="assistant"] .block-text', "4"),
    ({"sentence1": "a", "sentence2": "b", "score": 0.5}, ".label-tag", "score 0.5"),
]


def test_rows_of_each_format(user: Page, http: httpx.Client) -> None:
    for row, selector, text in SHOWN:
        user.goto(f"/console/files/{upload(http, lines([row]))}")
        expect(user.locator(f".example {selector}").first).to_have_text(text)


LONG_TAGS: row_view.Row = {"tokens": ["a"] * 9000, "tags": ["B-x"] * 9000}
LONG_ENTITIES: row_view.Row = {
    "text": "ab" * 3000,
    "entities": [{"start": at, "end": at + 1, "label": "x"} for at in range(0, 6000, 2)],
}
LONG_ANSWERS: row_view.Row = {
    "context": "ab" * 3000,
    "question": "q",
    "answers": {"text": ["a"] * 3000, "answer_start": list(range(0, 6000, 2))},
}
MESSAGE: row_view.Row = {"role": "user", "content": "a"}
TOOL: row_view.Row = {"type": "function", "function": {"name": "f", "arguments": ""}}
CALLS: row_view.Row = {"role": "assistant", "tool_calls": [TOOL] * 3000}
TEXTS: row_view.Row = {"role": "user", "content": [{"type": "text", "text": "a"}] * 3000}


@pytest.mark.parametrize(
    ("row", "format", "words"),
    [
        ({"text": "t", "labels": ["a"] * 3000}, "classification", "and 2,800 more"),
        ({"messages": [MESSAGE] * 3000}, "chat", "and 2,800 more messages"),
        ({"messages": [MESSAGE], "tools": [TOOL] * 3000}, "chat", "f, and 2,800 more"),
        ({"messages": [CALLS]}, "chat", "f()\nand 2,800 more"),
        ({"messages": [TEXTS]}, "chat", "a … and 2,800 more"),
        (LONG_ENTITIES, "token_classification", "and 2,800 more entities"),
        (LONG_ANSWERS, "question_answering", "and 2,800 more answers"),
        (LONG_TAGS, "token_classification", " … and 7,000 more"),
        ({"numbers": [1] * 9000}, None, " …"),
    ],
)
def test_long_lists_are_shown_in_part(row: row_view.Row, format: str | None, words: str) -> None:
    view = row_view.build_row(row, format)
    texts = [part.text for block in view.blocks for part in block.parts]
    assert len(view.labels) + len(texts) <= row_view.MAX_PARTS + 2
    assert sum(map(len, texts)) <= 2 * row_view.MAX_BLOCK_CHARS
    shown = [*view.labels, *texts, *(block.note for block in view.blocks)]
    assert any(each.endswith(words) for each in shown)


def test_many_tokens_and_labels_are_shown_in_part() -> None:
    segment = {"text": "", "label": None, "has_loss": True}
    sequence = {
        "role": "text",
        "token_count": 9000,
        "loss_token_count": 9000,
        "is_truncated": False,
        "segments": [segment] * 9000,
    }
    row = {"sequences": [sequence], "labels": ["a"] * 9000, "note": None, "is_learned": True}
    view = row_view.build_rendered(row)
    assert len(view.labels) == row_view.MAX_LISTED + 1
    assert len(view.blocks[0].parts) == row_view.MAX_PARTS + 1
    assert view.blocks[0].parts[-1].text == " … and 7,000 more"


def test_the_first_labels_of_a_row_with_as_many_as_a_file_may_have(
    user: Page, http: httpx.Client
) -> None:
    row: dict[str, object] = {"text": "t", "labels": [str(number) for number in range(10_000)]}
    user.goto(f"/console/files/{upload(http, lines([row]))}")
    expect(user.locator(".label-tag")).to_have_count(row_view.MAX_LISTED + 1)
    expect(user.locator(".label-tag").last).to_have_text("and 9,800 more")


def test_a_row_of_half_a_million_labels_is_no_valid_row(user: Page, http: httpx.Client) -> None:
    row: dict[str, object] = {"text": "t", "labels": [str(number) for number in range(400_000)]}
    user.goto(f"/console/files/{upload(http, lines([row]))}")
    expect(user.locator("#rows .row-note")).to_contain_text("label number 10001")
    expect(user.locator(".label-tag")).to_have_count(0)


def test_deletion_asks_first(user: Page, http: httpx.Client) -> None:
    file_id = upload(http, GOOD)
    user.goto(f"/console/files/{file_id}")
    user.get_by_role("button", name="Delete").click()
    user.get_by_role("button", name="Keep it").click()
    assert http.get(f"/v1/files/{file_id}").status_code == 200
    user.get_by_role("button", name="Delete").click()
    user.get_by_role("button", name="Delete the file").click()
    expect(user.get_by_role("heading", name="No files yet")).to_be_visible()
    assert http.get(f"/v1/files/{file_id}").status_code == 404


def test_a_file_in_use_says_by_what(user: Page, http: httpx.Client) -> None:
    file_id = upload(http, GOOD)
    job = http.post("/v1/fine_tuning/jobs", json={"model": "base", "training_file": file_id}).json()
    user.goto(f"/console/files/{file_id}")
    user.get_by_role("button", name="Delete").click()
    user.get_by_role("button", name="Delete the file").click()
    expect(user.get_by_role("alert")).to_contain_text(job["id"])


def test_a_file_is_downloaded_whole(user: Page, http: httpx.Client) -> None:
    user.goto(f"/console/files/{upload(http, GOOD)}")
    with user.expect_download() as download:
        user.get_by_role("link", name="Download").click()
    assert download.value.path().read_text() == GOOD
    assert download.value.suggested_filename == "train.jsonl"


def test_files_of_another_project_are_not_found(user: Page, other_tenant: httpx.Client) -> None:
    file_id = upload(other_tenant, GOOD)
    for path in ("", "/lines/1"):
        response = user.goto(f"/console/files/{file_id}{path}")
        assert response is not None
        assert "rhymes" not in response.text()
    expect(user.get_by_text("No such File object")).to_be_visible()


@pytest.mark.parametrize(
    ("line", "reason", "fault"),
    [
        ('{"a" 1}', "Error: Expecting ':' delimiter: line 1 column 6 (char 5) (line 3)", "1"),
        ("x\ufffdy", "byte 2 of the line is not UTF-8", "\ufffd"),
        ('{"label": 5, "text": "x"}', "Example 1: label is a number. Write", '"label": 5'),
        ('{"tags": ["B-x", "Q"]}', 'Example 1: tag 2 is "Q". Tags', '"Q"'),
        (
            '{"messages": [{"role": "user"}, {"content": "b"}]}',
            "Example 1, message 2 Discriminator 'role' is missing in value",
            '{"content": "b"}',
        ),
        (
            '{"messages": [{"role": "system"}, {"role": "user"}]}',
            "Example 1 has no message from the assistant. The last message must be the assistant's",
            '{"role": "user"}',
        ),
        ('{"text": "x"}', "Example 1 is missing key 'label'.", ""),
        ('{"messages": 5}', "Example 1, message 2 is missing content", ""),
        ('{"a": ' * 3000, "Example 1, message 7: x is a number", ""),
    ],
)
def test_the_fault_is_marked(line: str, reason: str, fault: str) -> None:
    marked = fault_marks.mark_fault(line, reason)
    assert marked.fault == fault
    if fault:
        assert marked.before + marked.fault + marked.after == line


def test_lengths_and_equal_rows_are_counted(
    user: Page, http: httpx.Client, engine: FakeEngine
) -> None:
    user.goto(f"/console/files/{upload(http, GOOD)}?model=base")
    expect(user.locator(".histogram")).to_have_count(2)
    expect(user.get_by_text("84 tokens an epoch, 36 of them with loss")).to_be_visible()
    expect(user.get_by_text("11 rows are equal to one before.")).to_be_visible()


def test_rows_that_two_files_have_are_found(user: Page, http: httpx.Client) -> None:
    other = {"messages": [{"role": "user", "content": "Hi"}, CHAT["messages"][1]]}
    train, test = upload(http, GOOD, "train.jsonl"), upload(http, lines([other, CHAT]), "t.jsonl")
    user.goto(f"/console/files/{test}")
    user.get_by_role("link", name="Look for rows that another file has too").click()
    user.get_by_label("Training file").select_option(train)
    user.get_by_role("button", name="Compare").click()
    expect(user.get_by_role("heading", name="1 row is in both files")).to_be_visible()
    user.get_by_role("link", name="2", exact=True).click()
    expect(user.locator(".example h3").first).to_have_text("Line 2")


def test_the_pages_are_accessible(user: Page, http: httpx.Client, engine: FakeEngine) -> None:
    broken, good = upload(http, BROKEN), upload(http, lines([ENTITIES] * 12))
    for path in ("", f"/{broken}?model=base", f"/{good}"):
        user.goto(f"/console/files{path}")
        assert find_accessibility_violations(user) == [], path


@pytest.mark.console
def test_a_large_file_is_sent_in_parts(user: Page, http: httpx.Client, tmp_path: Path) -> None:
    text = lines([{"text": "x" * 200_000, "label": f"l{number % 2}"} for number in range(340)])
    (tmp_path / "large.jsonl").write_text(text)
    paths: list[str] = []
    user.on("request", lambda request: paths.append(request.url.rpartition("/")[2]))
    user.goto("/console/files")
    user.locator('input[type="file"]').set_input_files(tmp_path / "large.jsonl")
    expect(user.locator(".uploads li")).to_contain_text("Ready.", timeout=120_000)
    assert paths.count("parts") == 2
    (file,) = http.get("/v1/files").json()["data"]
    assert (file["bytes"], file["status"]) == (len(text), "processed")
