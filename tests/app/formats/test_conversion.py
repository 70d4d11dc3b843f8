"""Conversion of public datasets: each layout, each kind of file, damage, and bounded memory."""

import csv
import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from app.formats import DatasetValidator
from app.formats.conversion import Conversion, ConversionOptions, UnreadableSource
from app.formats.conversion.json_documents import JsonElements
from app.formats.errors import LineError
from app.formats.layouts import Layout

USER = {"role": "user", "content": "Is it open on Sunday?"}
GOOD = {"role": "assistant", "content": "Yes, from ten."}
BAD = {"role": "assistant", "content": "Who knows."}
ARTICLE = {
    "title": "Opening",
    "paragraphs": [
        {
            "context": "The library opens at ten.",
            "qas": [
                {
                    "id": "1",
                    "question": "When?",
                    "is_impossible": False,
                    "answers": [{"text": "ten", "answer_start": 21}] * 2,
                },
                {"id": "2", "question": "Who?", "is_impossible": True, "answers": []},
            ],
        }
    ],
}
SQUAD = {"version": "v2.0", "data": [ARTICLE, ARTICLE]}
WHEN = {
    "context": "The library opens at ten.",
    "question": "When?",
    "answers": {"text": ["ten"], "answer_start": [21]},
}
WHO = {**WHEN, "question": "Who?", "answers": {"text": [], "answer_start": []}}
CALL = {"name": "hours", "arguments": {"day": "Sunday"}}
SHAREGPT_CALL = {
    "tools": json.dumps([{"name": "hours", "parameters": {"type": "object"}}]),
    "conversations": [
        {"from": "human", "value": "Sunday?"},
        {"from": "function_call", "value": json.dumps(CALL)},
        {"from": "observation", "value": "10-16"},
        {"from": "gpt", "value": "From ten to four."},
        {"from": "human", "value": "Thanks"},
    ],
}


def chat(*texts: str, system: str | None = None) -> dict[str, Any]:
    roles = ("user", "assistant") * (len(texts) // 2)
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
    return {"messages": [*([{"role": "system", "content": system}] if system else []), *messages]}


PREFERENCE = {
    "input": {"messages": [USER]},
    "preferred_output": [GOOD],
    "non_preferred_output": [BAD],
}

LAYOUTS: dict[str, tuple[Layout | None, Any, list[Any]]] = {
    "alpaca": (
        Layout.ALPACA,
        {"instruction": "Add", "input": "1 2", "output": "3", "text": "…"},
        [chat("Add\n\n1 2", "3")],
    ),
    "alpaca with turns before": (
        Layout.ALPACA,
        {"instruction": "a", "input": "", "output": "b", "system": "s", "history": [["c", "d"]]},
        [chat("c", "d", "a", "b", system="s")],
    ),
    "dolly": (
        Layout.ALPACA,
        {"instruction": "a", "context": "c", "response": "b", "category": "qa"},
        [chat("a\n\nc", "b")],
    ),
    "question and answer": (Layout.PAIRS, {"question": "a", "answer": "b"}, [chat("a", "b")]),
    "prompt and response": (Layout.PAIRS, {"prompt": "a", "response": "b"}, [chat("a", "b")]),
    "sharegpt": (
        Layout.SHAREGPT,
        {
            "id": "7",
            "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}],
        },
        [chat("a", "b")],
    ),
    "preference of texts": (
        Layout.CHOSEN_REJECTED,
        {"prompt": USER["content"], "chosen": GOOD["content"], "rejected": BAD["content"]},
        [PREFERENCE],
    ),
    "preference that repeats the prompt": (
        Layout.CHOSEN_REJECTED,
        {"prompt": USER["content"], "chosen": [USER, GOOD], "rejected": [USER, BAD], "score": 1},
        [PREFERENCE],
    ),
    "preference without a prompt": (
        Layout.CHOSEN_REJECTED,
        {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
        [PREFERENCE],
    ),
    "squad": (Layout.SQUAD, SQUAD, [WHEN, WHO, WHEN, WHO]),
    "squad by article": (Layout.SQUAD, ARTICLE, [WHEN, WHO]),
    "squad with a list of answers": (
        Layout.SQUAD,
        {**WHEN, "answers": [{"text": "ten", "answer_start": 21}]},
        [WHEN],
    ),
    "sentence and label": (
        Layout.LABELLED,
        {"sentence": "Great.", "label": 1, "idx": 4},
        [{"text": "Great.", "label": "1"}],
    ),
    "text and a number": (
        Layout.LABELLED,
        {"text": "Great.", "label": 1},
        [{"text": "Great.", "label": "1"}],
    ),
    "a row of a format": (None, PREFERENCE, [PREFERENCE]),
}


def convert(
    path: Path, *, rename: dict[str, str] | None = None, label_names: tuple[str, ...] = ()
) -> tuple[Conversion, list[Any], list[LineError]]:
    conversion = Conversion(path, ConversionOptions(rename or {}, label_names))
    results = list(conversion.lines())
    rows = [json.loads(result) for result in results if isinstance(result, bytes)]
    return conversion, rows, [result for result in results if isinstance(result, LineError)]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(("layout", "row", "expected"), LAYOUTS.values(), ids=LAYOUTS)
def test_layouts(tmp_path: Path, layout: Layout | None, row: Any, expected: list[Any]) -> None:
    conversion, rows, errors = convert(write(tmp_path / "data.jsonl", json.dumps(row)))
    assert (conversion.layout, errors) == (layout, [])
    assert rows == expected


@pytest.mark.parametrize(("layout", "row"), [case[:2] for case in LAYOUTS.values()], ids=LAYOUTS)
def test_an_upload_names_the_layout_and_the_command(layout: Layout | None, row: Any) -> None:
    validator = DatasetValidator()
    validator.feed((json.dumps(row) + "\n").encode() * 3)
    report = validator.finish()
    if layout is None:
        assert report.error_count == 0
    elif row.keys() >= {"text", "label"}:
        assert report.error_count == 3
        assert "label is a number" in report.errors[0].reason
    else:
        (error,) = report.errors
        assert "`luthier data convert FILE`" in error.reason
        assert error.reason.startswith("The file is in ")


def test_conversation_with_a_tool_call(tmp_path: Path) -> None:
    _, rows, errors = convert(write(tmp_path / "data.json", json.dumps([SHAREGPT_CALL])))
    assert errors == []
    (row,) = rows
    call, result, answer = row["messages"][1:]
    assert call["tool_calls"][0]["function"] == {"name": "hours", "arguments": '{"day":"Sunday"}'}
    assert result["tool_call_id"] == call["tool_calls"][0]["id"]
    assert answer["content"] == "From ten to four."
    assert row["tools"][0]["function"]["name"] == "hours"


TABLE = [("text", "category"), ('He said "no", twice\nand left', "refusal"), ("Yes", "consent")]


@pytest.mark.parametrize(("delimiter", "name"), [(",", "CSV"), ("\t", "TSV"), (";", "CSV")])
def test_tables(tmp_path: Path, delimiter: str, name: str) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows(TABLE)
    content = text.getvalue().encode("utf-8-sig")
    _, rows, errors = convert(write(tmp_path / "data.csv", content))
    assert errors == []
    assert rows == [{"text": text, "label": label} for text, label in TABLE[1:]]
    validator = DatasetValidator()
    validator.feed(content)
    (error,) = validator.finish().errors
    assert error.reason.startswith(f"The file is {name}")
    assert "with the columns text, category. Convert it with" in error.reason


def test_columns_are_renamed_and_labels_named(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", "body,class id\nGood,1\nBad,0\nOdd,7\n")
    conversion, rows, errors = convert(
        path, rename={"body": "text", "class id": "label"}, label_names=("no", "yes")
    )
    assert rows == [{"text": "Good", "label": "yes"}, {"text": "Bad", "label": "no"}]
    assert [(error.line, error.reason[:23]) for error in errors] == [(4, "the label 7 has no name")]
    assert (conversion.row_count, conversion.error_count) == (2, 1)


def test_scores_of_a_table_are_numbers(tmp_path: Path) -> None:
    _, rows, _ = convert(write(tmp_path / "data.tsv", "sentence1\tsentence2\tscore\na\tb\t4.5\n"))
    assert rows == [{"sentence1": "a", "sentence2": "b", "score": 4.5}]


def test_errors_name_the_line_of_the_file(tmp_path: Path) -> None:
    lines = [
        '{"instruction": "a", "output": "b"}',
        "",
        '{"instruction": "a", "output": 3}',
        '{"instruction": "a"}',
        "{",
        '{"instruction": "a", "output": ""}',
        '{"instruction": "c", "output": "d"}',
    ]
    _, rows, errors = convert(write(tmp_path / "data.jsonl", "\n".join(lines)))
    assert [row["messages"][0]["content"] for row in rows] == ["a", "a", "c"]
    assert [error.line for error in errors] == [3, 4, 5]


UNREADABLE = {
    "not closed": ('[{"instruction": "a", "output": "b"}', "The JSON document ends too early"),
    "not objects": ('[{"instruction": "a", "output": "b"},\n 3]', "than an object in line 2"),
    "junk between": ('[{"question": "a", "answer": "b"} x\n{"a": 1}]', "than an object in line 2"),
    "no examples": ("[]", "The JSON document has no examples"),
    "a quote in the middle": ('text,label\na,b\n"c"d,e\n', "The table is damaged in line 3"),
    "Latin-1": ("text,label\ncafé,b\n".encode("latin-1"), "The file is not UTF-8"),
    "prose": ("Once upon a time\n", "neither JSON Lines, nor a JSON document, nor CSV"),
    "unknown columns": ("a,b\n1,2\n", "The columns a, b are of no known layout"),
    "empty": ("", "neither JSON Lines"),
}


@pytest.mark.parametrize(("content", "reason"), UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable_files(tmp_path: Path, content: str | bytes, reason: str) -> None:
    with pytest.raises(UnreadableSource, match=reason):
        convert(write(tmp_path / "data", content))


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_documents_do_not_depend_on_their_chunks(size: int) -> None:
    elements = [{"a": 'x"]}\\', "b": [{"c": "[{"}]}, {}, {"d": "\\\\"}]
    document = json.dumps({"version": '1"', "other": [{"e": 1}], "data": elements}, indent=1)
    parser = JsonElements()
    found = []
    for start in range(0, len(document), size):
        found += list(parser.feed(document[start : start + size].encode()))
    parser.finish()
    assert [json.loads(element) for _, element in found] == elements
    assert [line for line, _ in found] == sorted(line for line, _ in found)


def test_a_large_document_on_one_line_is_converted_in_little_memory(tmp_path: Path) -> None:
    article = json.dumps(ARTICLE).replace("The library", "The library " + "x" * 10_000)
    path = tmp_path / "large.json"
    with path.open("w") as file:
        file.write('{"version": "v2.0", "data": [')
        file.write(",".join([article.replace("21", "10022")] * 700))
        file.write("]}")
    conversion = Conversion(path, ConversionOptions({}))
    tracemalloc.start()
    count = sum(isinstance(line, bytes) for line in conversion.lines())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (count, conversion.error_count) == (1_400, 0)
    # Two chunks, and one article parsed.
    assert peak < 5 * 2**20 < path.stat().st_size
    validator = DatasetValidator()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            validator.feed(chunk)
    assert "SQuAD's layout" in validator.finish().errors[0].reason
