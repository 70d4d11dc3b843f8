"""Files that teach an encoder nothing: told with line and reason at upload, or at the job."""

import json
from typing import Any

import httpx
import pytest
from openai import OpenAI

from app.db.session import SessionMaker, transaction
from app.jobs import lifecycle
from tests.app.http.test_admission import expect_error
from tests.app.jobs.test_option_checks import JOBS, asked

Row = dict[str, Any]
TEXTS: list[Row] = [{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(12)]
ONE_CLASS: list[Row] = [{**row, "label": "a"} for row in TEXTS]
ONCE: list[Row] = [*TEXTS, {"text": "another", "label": "rare"}]
TAGGED: Row = {"tokens": ["in", "Rome"], "tags": ["O", "B-place"]}
MARKED: Row = {"text": "in Rome", "entities": [{"start": 3, "end": 7, "label": "place"}]}
ASKED: Row = {
    "context": "In Rome.",
    "question": "Where?",
    "answers": {"text": ["Rome"], "answer_start": [3]},
}


def upload(openai: OpenAI, rows: list[Row]) -> str:
    lines = "\n".join(map(json.dumps, rows))
    return openai.files.create(file=("rows.jsonl", lines.encode()), purpose="fine-tune").id


def verdict(http: httpx.Client, file_id: str) -> dict[str, Any]:
    answer = http.get(f"/v1/files/{file_id}/verdict")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize(
    ("good", "bad", "reason"),
    [
        (TAGGED, {**TAGGED, "tags": ["O", "place"]}, 'tag 2 is "place". Tags are O, B-LABEL'),
        (TAGGED, {**TAGGED, "tags": ["O"]}, "has 2 tokens but 1 tags. Give each token one tag."),
        (MARKED, {**MARKED, "entities": MARKED["entities"] * 2}, "[3, 7) and [3, 7) overlap"),
        (
            ASKED,
            {**ASKED, "answers": {"text": ["Paris"], "answer_start": [3]}},
            'the answer "Paris" is not in the context',
        ),
        (TEXTS[0], ASKED, "is in the question_answering format, those before it in the class"),
        (TEXTS[0], {"text": "a", "labels": ["a"]}, "has 'labels', those before it have 'label'"),
    ],
)
def test_a_bad_line_is_named_at_upload(
    openai: OpenAI, http: httpx.Client, good: Row, bad: Row, reason: str
) -> None:
    found = verdict(http, upload(openai, [good, good, bad]))
    assert (found["status"], found["fault_count"]) == ("error", 1)
    (fault,) = found["faults"]
    assert fault["line"] == 3
    assert reason in fault["reason"]


@pytest.mark.parametrize(
    ("rows", "note"),
    [
        (ONE_CLASS, 'All 12 example(s) have one label, "a"; a training file needs at least 2'),
        (ONCE, 'Seen once, and not to be learned from that: "rare" (line 13).'),
    ],
)
def test_labels_that_teach_nothing_are_noted_at_upload(
    openai: OpenAI, http: httpx.Client, rows: list[Row], note: str
) -> None:
    found = verdict(http, upload(openai, rows))
    assert found["status"] == "processed"
    assert any(one.startswith(note) for one in found["notes"]), found["notes"]


@pytest.mark.parametrize(
    ("rows", "held_out", "param", "reason"),
    [
        (ONE_CLASS, None, "training_file", "only the label 'a'"),
        (ONCE, None, "training_file", "'rare' is there once, in line 13"),
        (TEXTS, [TEXTS[0], ONCE[-1]], "validation_file", "'rare' (line 2) is not in the training"),
    ],
)
def test_and_end_a_job(
    openai: OpenAI,
    http: httpx.Client,
    sessions: SessionMaker,
    rows: list[Row],
    held_out: list[Row] | None,
    param: str,
    reason: str,
) -> None:
    body = asked(upload(openai, rows), "classification")
    if held_out is not None:
        body["validation_file"] = upload(openai, held_out)
    job = http.post(JOBS, json=body).json()
    with transaction(sessions) as session:
        lifecycle.validate(session, job["id"])
    ended = http.get(f"{JOBS}/{job['id']}").json()
    assert (ended["status"], ended["error"]["param"]) == ("failed", param)
    assert reason in ended["error"]["message"]


@pytest.mark.parametrize("method", ["supervised", "dpo"])
def test_an_encoder_is_not_trained_to_write(
    openai: OpenAI, http: httpx.Client, method: str
) -> None:
    error = expect_error(http.post(JOBS, json=asked(upload(openai, TEXTS), method)), 400)
    assert (error["param"], error["code"]) == ("method.type", "invalid_value")
    assert f"Method '{method}' is not available for model small-encoder" in str(error["message"])
