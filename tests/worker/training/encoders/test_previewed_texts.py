"""The texts that an engine shows are tokenized and labelled as training's rows of them are."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.wire.long_rows import LongRowPolicy
from app.wire.training_rows import (
    RenderedRow,
    RenderTrainingRowsRequest,
    SegmentSplit,
    SequenceRole,
)
from tests.worker.conftest import words_tokenizer
from worker.encoding.rows.methods import ROW_METHODS
from worker.encoding.tags import bio_tag_names
from worker.encoding.task import Method
from worker.encoding.tokenizer import EncoderTokenizer
from worker.inference.training_rows.texts import TextRows

LENGTH = 12
LONG = " ".join(["w1"] * 40)
CLASSIFICATION = [
    {"text": "w1  w2", "label": "b"},
    {"text": LONG, "label": "a"},
]
ENTITIES = [
    {"text": "w1 w2 w3 w4", "entities": [{"start": 3, "end": 8, "label": "PER"}]},
    {"text": LONG, "entities": []},
]
QUESTIONS = [
    {
        "context": "w1 w2 w3 w4 w5 w6 w7 w8 w9 w10",
        "question": "w20",
        "answers": {"text": ["w8 w9"], "answer_start": [21]},
    },
    {
        "context": "w1 w2",
        "question": "w20",
        "answers": {"text": [], "answer_start": []},
    },
]


def tokenizer() -> EncoderTokenizer:
    return EncoderTokenizer(words_tokenizer(token_types=True), 64)


def render(method: Method, format: str, rows: list[dict[str, Any]], **options: Any) -> list[Any]:
    values = {"model": "tiny", "max_tokens": LENGTH, "split": SegmentSplit.TOKEN, **options}
    request = RenderTrainingRowsRequest(method=method, format=format, rows=rows, **values)
    shown: list[RenderedRow] = TextRows(tokenizer(), request).render().data
    return shown


def build(method: Method, rows: list[dict[str, Any]], path: Path) -> tuple[Any, list[Any]]:
    """The task and the rows that training makes of a file."""
    path.write_text("\n".join(map(json.dumps, rows)))
    functions = ROW_METHODS[method]
    examples = functions.read_examples(path)
    read = tokenizer().with_length(LENGTH)
    task = functions.infer_task(examples, LENGTH, read)
    return task, list(functions.build_rows(examples, task, read))


def names(row: Any) -> list[str]:
    tokens = tokenizer().hf_tokenizer.convert_ids_to_tokens(row.text.ids.tolist())
    return [str(token) for token in tokens]


def texts(sequence: Any) -> list[str]:
    return [segment.text.strip() for segment in sequence.segments]


def test_classified_texts(tmp_path: Path) -> None:
    shown = render("classification", "classification", CLASSIFICATION)
    task, rows = build("classification", CLASSIFICATION, tmp_path / "file")
    for example, row in zip(shown, rows, strict=True):
        (sequence,) = example.sequences
        assert sequence.role == SequenceRole.TEXT
        assert texts(sequence) == names(row)
        assert example.labels == [task.labels[row.target[0]]]
        assert sequence.is_truncated is not row.is_complete
        assert example.is_learned
    assert [row.sequences[0].is_truncated for row in shown] == [False, True]
    assert "".join(segment.text for segment in shown[0].sequences[0].segments) == "[CLS]w1  w2[SEP]"


def test_long_texts_are_left_out_with_drop() -> None:
    shown = render("classification", "classification", CLASSIFICATION, long_rows=LongRowPolicy.DROP)
    assert [row.is_learned for row in shown] == [True, False]
    assert "longer than 12 tokens" in shown[1].note


def test_entities(tmp_path: Path) -> None:
    shown = render("token_classification", "token_classification", ENTITIES)
    task, rows = build("token_classification", ENTITIES, tmp_path / "file")
    tags = bio_tag_names(task.labels)
    for example, row in zip(shown, rows, strict=True):
        (sequence,) = example.sequences
        targets = row.target.tolist()
        assert texts(sequence) == names(row)
        assert [s.has_loss for s in sequence.segments] == [target >= 0 for target in targets]
        assert [s.label for s in sequence.segments if s.has_loss] == [
            tags[target] for target in targets if target >= 0
        ]
    labelled = [(s.text.strip(), s.label) for s in shown[0].sequences[0].segments if s.label != "O"]
    assert labelled == [("[CLS]", None), ("w2", "B-PER"), ("w3", "I-PER"), ("[SEP]", None)]


def test_answers_are_marked_in_the_windows_that_have_them(tmp_path: Path) -> None:
    shown = render("question_answering", "question_answering", QUESTIONS)
    _, rows = build("question_answering", QUESTIONS, tmp_path / "file")
    sequences = [sequence for example in shown for sequence in example.sequences]
    assert len(sequences) == len(rows) > 2
    for sequence, row in zip(sequences, rows, strict=True):
        first, last = row.target.tolist()
        marked = [place for place, s in enumerate(sequence.segments) if s.has_loss]
        assert texts(sequence) == names(row)
        assert marked == list(range(first, last + 1))
    answers = {
        s.text.strip()
        for sequence in shown[0].sequences
        for s in sequence.segments
        if s.label == "answer"
    }
    assert answers == {"w8", "w9"}
    assert [s.label for s in shown[1].sequences[0].segments if s.has_loss] == ["no_answer"]


@pytest.mark.parametrize(
    ("format", "row", "roles", "target"),
    [
        ("embedding", {"anchor": "w1", "positive": "w2"}, ["anchor", "positive"], (None, None)),
        (
            "embedding",
            {"anchor": "w1", "positive": "w2", "negative": "w3"},
            ["anchor", "positive", "negative"],
            (None, None),
        ),
        (
            "embedding",
            {"sentence1": "w1", "sentence2": "w2", "score": 0.5},
            ["first", "second"],
            (None, 0.5),
        ),
        ("classification", {"text": "w1", "label": "a"}, ["anchor"], (["a"], None)),
    ],
)
def test_embedded_texts(
    format: str, row: dict[str, Any], roles: list[str], target: tuple[Any, Any]
) -> None:
    (shown,) = render("embedding", format, [row])
    assert [sequence.role for sequence in shown.sequences] == roles
    assert (shown.labels, shown.score) == target
    assert texts(shown.sequences[0]) == ["[CLS]", "w1", "[SEP]"]
    assert shown.is_learned
