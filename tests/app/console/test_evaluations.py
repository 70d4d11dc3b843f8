"""Pages of evaluations in a browser: test files, the rows behind their numbers, evals and runs."""

import json
import re
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import numpy as np
import pytest
from openai import OpenAI
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from app.console import evaluation_routes, evaluation_rows
from app.console.evaluation_rows import (
    RowFilter,
    describe_answer,
    measure_overlap,
    select_answers,
    split_by_spans,
)
from app.console.file_content import MAX_CONTENT_BYTES, FileStart, iterate_rows, parse_rows
from app.console.row_view import MAX_LISTED
from app.db.tables import File, FilePurpose, Job, Project
from app.storage import file_key
from tests.app.console.conftest import find_accessibility_violations
from tests.app.evals.conftest import in_process  # noqa: F401
from tests.app.evals.test_routes import EXACT
from tests.app.evals.test_runs import HELLO, OTHER, content, sampled, start, wait_for_end
from tests.factories import make_file, make_job
from tests.live_api import Account, Api
from tests.work_runner import RunWork
from worker.training.encoders import metrics
from worker.training.encoders.objective import list_wrong_examples

HOSTILE = '<img src=x onerror="document.title=1">'
LABELS = ["billing", HOSTILE]
# Expected and found labels of each row, and the probability of the found one.
CLASSIFIED = [(0, 0, 0.9), (0, 1, 0.8), (1, 1, 0.7), (0, 1, 0.95)]

AddJob = Callable[..., Job]


@pytest.fixture
def add_job(session: Session, account: Account, api: Api) -> AddJob:
    """Add a job that has measured rows of a test file, with the report about them."""
    project = session.get_one(Project, account.principal.project_id)

    def store(purpose: FilePurpose, data: bytes) -> File:
        file = make_file(session, project, purpose=purpose, bytes=len(data), filename="test.jsonl")
        api.state.store.put(file_key(project.id, file.id), data)
        return file

    def add(report: dict[str, Any], rows: Sequence[Any], **changes: Any) -> Job:
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        test = store(FilePurpose.FINE_TUNE, lines.encode())
        evaluation = store(FilePurpose.FINE_TUNE_RESULTS, json.dumps({"test": report}).encode())
        results = {
            name: value for name, value in report.items() if name not in ("answers", "wrong")
        }
        job = make_job(
            session,
            project,
            state="succeeded",
            suffix="tickets",
            fine_tuned_model="ft:base:acme:tickets:Abcd1234",
            test_file_id=test.id,
            test_results=results,
            result_file_id=store(FilePurpose.FINE_TUNE_RESULTS, b"step\n").id,
            evaluation_file_id=evaluation.id,
            **changes,
        )
        session.commit()
        return job

    return add


@pytest.fixture
def classified(add_job: AddJob) -> Job:
    probabilities = np.array(
        [[p, 1 - p] if found == 0 else [1 - p, p] for _, found, p in CLASSIFIED]
    )
    truth = np.array([expected for expected, _, _ in CLASSIFIED])
    wrong = [
        {
            "example": number,
            "expected": [LABELS[expected]],
            "found": [LABELS[found]],
            "confidence": confidence,
        }
        for number, (expected, found, confidence) in enumerate(CLASSIFIED, 1)
        if expected != found
    ]
    report = metrics.single_label_metrics(truth, probabilities, LABELS)
    rows = [
        {"text": f"ticket {number}", "label": LABELS[expected]}
        for number, (expected, _, _) in enumerate(CLASSIFIED, 1)
    ]
    report = {"rows": len(rows), **report, **list_wrong_examples(wrong)}
    return add_job(report, rows, base_model="small-encoder", method="classification")


@pytest.fixture
def answered(add_job: AddJob) -> Job:
    rows = [
        {
            "messages": [
                {"role": "system", "content": "Translate."},
                {"role": "user", "content": f"question {number}"},
                {"role": "assistant", "content": "the right answer"},
            ]
        }
        for number in range(1, 4)
    ]
    texts = [("no", "the right answer"), ("the right answer", HOSTILE), ("no", "right answer")]
    answers = [
        {"row": number, "reference": "the right answer", "base": base, "tuned": tuned}
        for number, (base, tuned) in enumerate(texts, 1)
    ]
    report = {
        "rows": 3,
        "measured_rows": 3,
        "skipped_rows": 0,
        "base": {"exact_match": 0.333, "token_f1": 0.4},
        "tuned": {"exact_match": 0.667, "token_f1": 0.3},
        "answers": answers,
    }
    return add_job(report, rows)


def open_job(user: Page, job: Job) -> None:
    user.goto("/console/evaluations")
    user.get_by_role("link", name="tickets").click()
    expect(user.get_by_role("heading", name="tickets")).to_be_visible()


def test_base_and_tuned_are_compared(user: Page, answered: Job) -> None:
    user.goto("/console/evaluations")
    row = user.get_by_role("row").filter(has_text="tickets")
    expect(row).to_contain_text("Exact match")
    expect(row).to_contain_text("+0.334")
    open_job(user, answered)
    cells = user.get_by_role("row").filter(has_text="Token F1").get_by_role("cell")
    expect(cells).to_contain_text(["Token F1", "0.4", "0.3", "-0.1"])


def test_answers_are_filtered_with_the_worst_first(user: Page, answered: Job) -> None:
    open_job(user, answered)
    rows = user.locator(".measured-rows > li")
    expect(rows).to_contain_text(["question 2", "question 3"])
    expect(rows.first).to_contain_text(HOSTILE)
    user.get_by_role("link", name="Tuned is worse than base").click()
    expect(rows).to_contain_text(["question 2"])
    user.get_by_role("link", name="Tuned is better").click()
    expect(rows).to_contain_text(["question 3", "question 1"])
    assert user.title() == "Evaluation of tickets · Luthier"


def test_a_worst_row_is_edited_and_added_to_the_next_file(
    user: Page, answered: Job, http: httpx.Client
) -> None:
    open_job(user, answered)
    user.get_by_role("button", name="Edit and add to a file").first.click()
    expect(user.get_by_label("Right answer")).to_have_value("the right answer")
    user.get_by_label("Right answer").fill("a better answer")
    user.get_by_role("button", name="Add the row").click()
    user.get_by_role("button", name="Make a file").click()
    with user.expect_response(lambda response: response.request.method == "POST"):
        user.get_by_role("button", name="Upload as training file").click()
    user.wait_for_url("**/files/file-*")
    file = user.url.rsplit("/", 1)[1]
    (line,) = http.get(f"/v1/files/{file}/content").text.splitlines()
    assert [message["content"] for message in json.loads(line)["messages"]] == [
        "Translate.",
        "question 2",
        "a better answer",
    ]


def test_a_number_of_the_confusion_matrix_opens_its_rows(user: Page, classified: Job) -> None:
    open_job(user, classified)
    expect(user.locator(".measured-rows > li")).to_contain_text(["ticket 2", "ticket 4"])
    user.get_by_role("link", name="1 of billing found as billing").click()
    expect(user.locator(".measured-rows > li")).to_contain_text(["ticket 1"])
    user.get_by_role("link", name=f"2 of billing found as {HOSTILE}").click()
    expect(user.locator(".measured-rows > li")).to_contain_text(["ticket 2", "ticket 4"])
    expect(user.locator(".measured-rows > li").first).to_contain_text("confidence 80.0%")


def test_the_reliability_plot_has_the_bins(user: Page, classified: Job) -> None:
    open_job(user, classified)
    titles = user.locator(".reliability circle title").all_text_contents()
    assert titles == [
        "1 rows: confidence 70.0%, right 100.0%",
        "1 rows: confidence 80.0%, right 0.0%",
        "2 rows: confidence 92.5%, right 50.0%",
    ]


def test_missed_and_wrong_entities_are_marked(user: Page, add_job: AddJob) -> None:
    rows = [{"text": "\N{VIOLIN} Ada lives in Bonn", "entities": []}]
    wrong = [
        {
            "example": 1,
            "expected": [{"start": 2, "end": 5, "label": "PER"}],
            "found": [{"start": 15, "end": 19, "label": "ORG"}],
        }
    ]
    report = {"rows": 1, "f1": 0.0, "wrong_examples": 1, "wrong": wrong}
    open_job(user, add_job(report, rows, base_model="encoder", method="token_classification"))
    expect(user.locator("mark")).to_have_text(["AdaPER", "BonnORG"])


def test_a_deleted_test_file_leaves_the_numbers(
    user: Page, classified: Job, http: httpx.Client
) -> None:
    assert http.delete(f"/v1/files/{classified.test_file_id}").status_code == 200
    open_job(user, classified)
    expect(user.get_by_text("The file is deleted, so")).to_be_visible()
    expect(user.locator(".measured-rows > li")).to_have_count(2)


def test_the_page_of_a_job_leads_to_its_evaluation(user: Page, classified: Job) -> None:
    user.goto(f"/console/jobs/{classified.id}")
    user.get_by_role("link", name="Metrics and rows of the test file").click()
    expect(user).to_have_url(re.compile(f"/console/evaluations/jobs/{classified.id}$"))


class TestLongFiles:
    """A project's own long files take neither the event loop nor much memory."""

    def test_only_the_first_part_of_a_file_is_read(self, user: Page, add_job: AddJob) -> None:
        rows = [{"text": text} for text in ("ticket 1", "x" * MAX_CONTENT_BYTES, "ticket 3")]
        wrong = [{"example": row, "expected": ["a"], "found": ["b"]} for row in (1, 2, 3)]
        report = {"rows": 3, "f1": 0.0, "wrong_examples": 3, "wrong": wrong}
        open_job(user, add_job(report, rows, base_model="small-encoder", method="classification"))
        expect(user.get_by_text("Only the first 8.0 MiB of the file are read")).to_be_visible()
        expect(user.locator(".measured-rows .asked")).to_have_text(["ticket 1"])
        expect(user.locator(".measured-rows > li")).to_contain_text(["row 1", "row 2", "row 3"])

    def test_the_numbers_of_a_long_report_are_shown_alone(
        self, user: Page, answered: Job, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(evaluation_routes, "MAX_RESULT_BYTES", 100)
        open_job(user, answered)
        expect(user.get_by_text("The report is too long for this page")).to_be_visible()
        expect(user.get_by_role("row").filter(has_text="Token F1")).to_contain_text("0.4")
        expect(user.locator(".measured-rows > li")).to_have_count(0)

    def test_the_work_is_done_in_the_projects_share_of_threads(
        self,
        user: Page,
        answered: Job,
        account: Account,
        api: Api,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        held: dict[str, set[int]] = {}

        def watch(module: Any, name: str) -> None:
            function = getattr(module, name)

            def call(*args: Any, **options: Any) -> Any:
                slots = api.state.json_threads.held_by(account.principal.project_id)
                held.setdefault(name, set()).add(slots)
                return function(*args, **options)

            monkeypatch.setattr(module, name, call)

        watch(evaluation_routes, "parse_result")
        watch(evaluation_rows, "parse_rows")
        watch(evaluation_rows, "measure_overlap")
        watch(evaluation_routes, "render")
        response = user.goto(f"/console/evaluations/jobs/{answered.id}")
        assert response is not None
        assert response.status == 200
        names = ("parse_result", "measure_overlap", "parse_rows", "render")
        assert held == {name: {1} for name in names}

    def test_blank_lines_take_no_memory(self) -> None:
        file = FileStart(b'{"a":1}\n' + b"\n" * 2**21 + b' \r\n{"a":2}', is_cut=False)
        tracemalloc.start()
        try:
            rows = list(iterate_rows(file))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert rows == [(1, {"a": 1}), (2, {"a": 2})]
        assert peak < 2**16

    def test_rows_behind_the_last_one_of_a_page_are_not_parsed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        parsed: list[bytes] = []
        monkeypatch.setattr("app.console.file_content._parse_row", parsed.append)
        parse_rows(FileStart(b"1\n2\n\n3\n4\n5\n", is_cut=False), {2, 4})
        assert parsed == [b"2", b"4"]

    def test_a_cut_line_is_no_row(self) -> None:
        assert list(iterate_rows(FileStart(b'\xef\xbb\xbf{"a":1}\n{}', is_cut=True))) == [
            (1, {"a": 1})
        ]

    def test_only_answers_that_the_page_orders_are_compared(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answers = [{"row": row, "reference": "a b", "tuned": "a", "base": "b"} for row in range(10)]
        calls: list[str] = []

        def measure(answer: str, reference: str) -> float:
            calls.append(answer)
            return measure_overlap(answer, reference)

        monkeypatch.setattr(evaluation_rows, "measure_overlap", measure)
        assert len(select_answers(answers, RowFilter.WRONG)) == 10
        assert calls == ["a"] * 10

    def test_the_beginnings_of_long_answers_are_compared(self) -> None:
        long = "a " * 2000
        assert measure_overlap(long + "b " * 9000, long + "c " * 9000) == 1.0

    def test_long_lists_are_shown_in_part(self) -> None:
        spans = [{"start": at, "end": at + 1, "label": "x"} for at in range(0, 2000, 2)]
        parts = split_by_spans("ab" * 1000, spans)
        assert sum(label is not None for _, label in parts) == MAX_LISTED
        assert parts[-1] == (" … and 800 more", None)
        labels = describe_answer([f"l{number}" for number in range(1000)]).split(", ")
        assert (len(labels), labels[-1]) == (MAX_LISTED + 1, "and 800 more")


@pytest.mark.usefixtures("in_process")
def test_a_run_shows_its_criteria_and_items(user: Page, openai: OpenAI, run_work: RunWork) -> None:
    run = start(openai, sampled(content(HELLO, OTHER)), EXACT)
    with run_work():
        wait_for_end(openai, run)
    user.goto("/console/evaluations")
    user.locator("section", has=user.get_by_role("heading", name="Evals")).get_by_role(
        "link"
    ).first.click()
    user.get_by_role("table").get_by_role("link").first.click()
    expect(user.locator("#run-results")).to_contain_text("50.0%")
    report_url = openai.evals.runs.retrieve(run.id, eval_id=run.eval_id).report_url
    expect(user).to_have_url(re.compile(re.escape(report_url) + "$"))
    expect(user.locator(".measured-rows > li")).to_have_count(2)
    user.get_by_role("link", name="Failed").click()
    expect(user.locator(".measured-rows > li")).to_contain_text(["Which team: Hi"])
    assert find_accessibility_violations(user) == []


def test_evals_are_imported_and_what_is_left_out_is_named(user: Page) -> None:
    config = {
        "prompts": ["Which team: {{ticket}}"],
        "tests": [
            {
                "vars": {"ticket": "Charged twice."},
                "assert": [
                    {"type": "icontains", "value": "billing"},
                    {"type": "regex", "value": "b.*"},
                ],
            }
        ],
    }
    user.goto("/console/evaluations/import")
    field = user.get_by_label("Export of OpenAI's evals")
    field.fill("no document")
    user.get_by_role("button", name="Import").click()
    expect(user.locator(".problem")).to_contain_text("Nothing was imported")
    field.fill(json.dumps(config))
    user.get_by_role("button", name="Import").click()
    expect(user.get_by_role("heading", name="1 imported")).to_be_visible()
    expect(user.get_by_role("row").filter(has_text="regex")).to_be_visible()


@pytest.mark.parametrize("job", ["answered", "classified"])
def test_the_pages_are_accessible(user: Page, request: pytest.FixtureRequest, job: str) -> None:
    open_job(user, request.getfixturevalue(job))
    assert find_accessibility_violations(user) == []
    user.goto("/console/evaluations")
    assert find_accessibility_violations(user) == []
