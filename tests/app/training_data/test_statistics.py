"""Statistics of training files: lengths, labels, equal rows, tokens; and rows of two files."""

import json
from typing import Any

import httpx
import pytest
from openai import OpenAI

from app.training_data import file_scan, statistics
from app.training_data.lengths import describe_lengths
from tests.app.training_data.test_preview import chat, upload
from tests.live_server import FakeEngine


def get(http: httpx.Client, file_id: str, view: str, **params: Any) -> dict[str, Any]:
    response = http.get(f"/v1/files/{file_id}/{view}", params=params)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def test_equal_rows_are_counted_without_the_owners_keys(http: httpx.Client, openai: OpenAI) -> None:
    first, second = ({"text": text, "label": "a"} for text in ("1", "2"))
    swapped = {"id": 7, **dict(reversed(first.items()))}
    body = get(http, upload(openai, [first, second, swapped, second, first]), "statistics")
    assert (body["examples"], body["invalid_examples"], body["duplicate_count"]) == (5, 0, 3)
    assert body["duplicates"] == [
        {"line": 3, "first_line": 1},
        {"line": 4, "first_line": 2},
        {"line": 5, "first_line": 1},
    ]
    assert body["tokens"] is None


def test_lengths_are_those_of_the_texts(http: httpx.Client, openai: OpenAI) -> None:
    body = get(http, upload(openai, [chat("n" * 10), chat("n" * 30)]), "statistics")
    lengths = body["characters"]
    assert [lengths[key] for key in ("minimum", "median", "maximum", "total")] == [20, 20, 60, 80]


def test_labels_are_counted(http: httpx.Client, openai: OpenAI) -> None:
    rows = [{"text": f"t{number}", "label": "ab"[number % 2]} for number in range(12)]
    body = get(http, upload(openai, rows), "statistics")
    assert body["labels"] == {"a": 6, "b": 6}


def test_invalid_lines_are_counted(http: httpx.Client, openai: OpenAI) -> None:
    body = get(http, upload(openai, '{"messages": 3}\nnot json\n'), "statistics", model="base")
    assert (body["examples"], body["invalid_examples"]) == (0, 2)
    assert (body["characters"], body["tokens"]) == (None, None)


def test_tokens_are_those_of_the_engine(
    http: httpx.Client, openai: OpenAI, engine: FakeEngine
) -> None:
    file_id = upload(openai, [chat(str(number)) for number in range(40)])
    tokens = get(http, file_id, "statistics", model="base", max_seq_length=64)["tokens"]
    assert (tokens["measured_examples"], tokens["left_out_examples"]) == (40, 0)
    assert (tokens["tokens_per_epoch"], tokens["loss_tokens_per_epoch"]) == (280, 120)
    assert (tokens["sequences"]["median"], tokens["max_tokens"]) == (7, 8192)
    assert {body["max_tokens"] for body in engine.bodies} == {64}
    assert {body["split"] for body in engine.bodies} == {None}
    assert sum(len(body["rows"]) for body in engine.bodies) == 40


def test_tokens_of_a_larger_file_are_estimated_by_a_sample(
    http: httpx.Client, openai: OpenAI, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 1,000 rows are sampled, of each of which the engine says 7 tokens.
    file_id = upload(openai, [chat(str(number)) for number in range(1500)])
    tokens = get(http, file_id, "statistics", model="base")["tokens"]
    assert tokens["measured_examples"] == file_scan.MAX_SAMPLED_ROWS
    assert tokens["tokens_per_epoch"] == 10_500
    sampled = [row for body in engine.bodies for row in body["rows"]]
    assert len({str(row) for row in sampled}) == file_scan.MAX_SAMPLED_ROWS
    assert any(row == chat(str(number)) for row in sampled for number in range(1000, 1500))


def test_a_sample_is_of_the_whole_file_and_bounded_while_it_is_read() -> None:
    # Sorted by label and length, and larger than a sample: 8 MiB in 500 rows.
    rows = [{"text": "n" * 8_000, "label": "a"}] * 250 + [
        {"text": "n" * 24_000, "label": "b"}
    ] * 250
    sample = file_scan.RowSample()
    kept = 0
    for row in rows:
        sample.add(row)
        kept = max(kept, len(json.dumps(sample.take())))
    labels = [row["label"] for row in sample.take()]
    assert kept <= 1.1 * file_scan.MAX_SAMPLE_BYTES
    assert len(labels) > 100
    assert 0.4 < labels.count("b") / len(labels) < 0.6


@pytest.mark.parametrize("place", [0, 5, 9])
def test_a_sample_has_a_row_wherever_the_file_has_one_that_is_larger_than_a_sample(
    place: int,
) -> None:
    rows = [{"text": "n" * 3 * 2**20, "label": "a"}] + [{"text": "b", "label": "b"}] * 9
    rows[0], rows[place] = rows[place], rows[0]
    task = file_scan.StatisticsTask()
    task.feed("\n".join(map(json.dumps, rows)).encode())
    scan = file_scan.FileScan.model_validate_json(task.finish())
    assert (scan.examples, scan.invalid) == (10, 0)
    assert scan.sample


def test_a_file_that_is_too_large_is_read_in_part(
    http: httpx.Client, openai: OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "MAX_READ_BYTES", 1)
    file_id = upload(openai, [chat("n" * 1000) for _ in range(800)])
    body = get(http, file_id, "statistics")
    assert body["bytes_read"] == 2**20 < body["bytes"]


def test_an_engine_that_is_down_is_a_503(
    http: httpx.Client, openai: OpenAI, engine: FakeEngine
) -> None:
    engine.healthy = False
    file_id = upload(openai, [chat("1")])
    assert http.get(f"/v1/files/{file_id}/statistics?model=base").status_code == 503
    assert http.get(f"/v1/files/{file_id}/statistics").status_code == 200


def test_rows_of_two_files_are_found(http: httpx.Client, openai: OpenAI) -> None:
    training = upload(openai, [chat(str(number)) for number in range(10)])
    held_out = [chat("20"), chat("3", name="x"), chat("4"), chat("5") | {"id": 1}, chat("4")]
    body = get(http, upload(openai, held_out), "leakage", training_file=training)
    assert body["count"] == 2
    assert body["rows"] == [{"line": 3, "training_line": 5}, {"line": 4, "training_line": 6}]
    assert body["bytes_read"] > 0 < body["training_bytes_read"]


def test_a_file_has_no_leakage_with_itself(http: httpx.Client, openai: OpenAI) -> None:
    file_id = upload(openai, [chat("1")])
    response = http.get(f"/v1/files/{file_id}/leakage", params={"training_file": file_id})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "training_file")
    response = http.get(f"/v1/files/{file_id}/leakage", params={"training_file": "file-missing"})
    assert (response.status_code, response.json()["error"]["param"]) == (404, "training_file")


def test_a_histogram_has_each_length_once() -> None:
    lengths = [0, 1, 1, 39, 100]
    described = describe_lengths(lengths)
    assert described is not None
    assert [described.minimum, described.median, described.p95, described.maximum] == [
        0,
        1,
        100,
        100,
    ]
    bins = described.histogram
    assert sum(each.count for each in bins) == 5
    assert [each.minimum for each in bins[1:]] == [each.maximum + 1 for each in bins[:-1]]
    assert [each.count for each in bins if each.minimum <= 39 <= each.maximum] == [1]
