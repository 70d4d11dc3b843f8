"""Training files of encoders: errors and warnings at upload, and at the job."""

import json
from typing import Any

import httpx
import pytest
from openai import OpenAI

from app.db.session import SessionMaker, transaction
from app.jobs import lifecycle
from tests.app.http.test_admission import expect_error
from tests.app.jobs.test_option_checks import JOBS, build_job_body

Row = dict[str, Any]
TEXTS: list[Row] = [{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(12)]
ONE_LABEL: list[Row] = [{**row, "label": "a"} for row in TEXTS]
RARE_LABEL: list[Row] = [*TEXTS, {"text": "another", "label": "rare"}]
TAGGED: Row = {"tokens": ["in", "Rome"], "tags": ["O", "B-place"]}
ANNOTATED: Row = {"text": "in Rome", "entities": [{"start": 3, "end": 7, "label": "place"}]}
QUESTION: Row = {
    "context": "In Rome.",
    "question": "Where?",
    "answers": {"text": ["Rome"], "answer_start": [3]},
}


def upload(openai: OpenAI, rows: list[Row]) -> str:
    lines = "\n".join(map(json.dumps, rows))
    return openai.files.create(file=("rows.jsonl", lines.encode()), purpose="fine-tune").id


def get_validation(http: httpx.Client, file_id: str) -> dict[str, Any]:
    response = http.get(f"/v1/files/{file_id}/validation")
    assert response.status_code == 200, response.text
    report: dict[str, Any] = response.json()
    return report


@pytest.mark.parametrize(
    ("good", "bad", "reason"),
    [
        (TAGGED, {**TAGGED, "tags": ["O", "place"]}, 'tag 2 is "place". Tags are O, B-LABEL'),
        (TAGGED, {**TAGGED, "tags": ["O"]}, "has 2 tokens but 1 tags. Give each token one tag."),
        (
            ANNOTATED,
            {**ANNOTATED, "entities": ANNOTATED["entities"] * 2},
            "[3, 7) and [3, 7) overlap",
        ),
        (
            QUESTION,
            {**QUESTION, "answers": {"text": ["Paris"], "answer_start": [3]}},
            'the answer "Paris" is not in the context',
        ),
        (TEXTS[0], QUESTION, "is in the question_answering format, those before it in the class"),
        (TEXTS[0], {"text": "a", "labels": ["a"]}, "has 'labels', those before it have 'label'"),
    ],
)
def test_invalid_lines_are_reported_at_upload(
    openai: OpenAI, http: httpx.Client, good: Row, bad: Row, reason: str
) -> None:
    report = get_validation(http, upload(openai, [good, good, bad]))
    assert (report["status"], report["error_count"]) == ("error", 1)
    (error,) = report["errors"]
    assert error["line"] == 3
    assert reason in error["reason"]


@pytest.mark.parametrize(
    ("rows", "note"),
    [
        (ONE_LABEL, 'All 12 example(s) have one label, "a"; a training file needs at least 2'),
        (RARE_LABEL, 'Labels with a single example, too few to learn: "rare" (line 13).'),
    ],
)
def test_unlearnable_labels_are_warned_of_at_upload(
    openai: OpenAI, http: httpx.Client, rows: list[Row], note: str
) -> None:
    report = get_validation(http, upload(openai, rows))
    assert report["status"] == "processed"
    assert any(warning.startswith(note) for warning in report["notes"]), report["notes"]


@pytest.mark.parametrize(
    ("rows", "validation", "param", "reason"),
    [
        (ONE_LABEL, None, "training_file", "only the label 'a'"),
        (RARE_LABEL, None, "training_file", "'rare' occurs only once, in line 13"),
        (
            TEXTS,
            [TEXTS[0], RARE_LABEL[-1]],
            "validation_file",
            "'rare' (line 2) is not in the training",
        ),
    ],
)
def test_unlearnable_labels_fail_a_job(
    openai: OpenAI,
    http: httpx.Client,
    sessions: SessionMaker,
    rows: list[Row],
    validation: list[Row] | None,
    param: str,
    reason: str,
) -> None:
    body = build_job_body(upload(openai, rows), "classification")
    if validation is not None:
        body["validation_file"] = upload(openai, validation)
    job = http.post(JOBS, json=body).json()
    with transaction(sessions) as session:
        lifecycle.validate(session, job["id"])
    ended = http.get(f"{JOBS}/{job['id']}").json()
    assert (ended["status"], ended["error"]["param"]) == ("failed", param)
    assert reason in ended["error"]["message"]


@pytest.mark.parametrize("method", ["supervised", "dpo"])
def test_encoders_have_no_generative_methods(
    openai: OpenAI, http: httpx.Client, method: str
) -> None:
    error = expect_error(http.post(JOBS, json=build_job_body(upload(openai, TEXTS), method)), 400)
    assert (error["param"], error["code"]) == ("method.type", "invalid_value")
    assert f"Method '{method}' is not available for model small-encoder" in str(error["message"])
