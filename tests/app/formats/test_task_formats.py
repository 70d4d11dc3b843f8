"""Formats of the encoder methods: validation, messages, and the summary of a file."""

import json
from typing import Any

import pytest

from app.formats import (
    DatasetValidator,
    ValidationReport,
    classification,
    label_counts_sentence,
    question_answering,
    token_classification,
)


def validate(*rows: dict[str, Any]) -> ValidationReport:
    validator = DatasetValidator()
    validator.feed(b"\n".join(json.dumps(row).encode() for row in rows))
    return validator.finish()


def notes_of(*rows: dict[str, Any]) -> tuple[str, ...]:
    summary = validate(*rows).summary
    assert summary is not None
    return summary.notes


def labelled(text: str, label: str) -> dict[str, str]:
    return {"text": text, "label": label}


def tagged(*pairs: tuple[str, str]) -> dict[str, list[str]]:
    return {"tokens": [token for token, _ in pairs], "tags": [tag for _, tag in pairs]}


def annotated(text: str, *entities: tuple[int, int, str]) -> dict[str, Any]:
    spans = [{"start": start, "end": end, "label": label} for start, end, label in entities]
    return {"text": text, "entities": spans}


def question(context: str, *answers: tuple[str, int]) -> dict[str, Any]:
    texts, starts = [text for text, _ in answers], [start for _, start in answers]
    return {
        "context": context,
        "question": "Where?",
        "answers": {"text": texts, "answer_start": starts},
    }


GOOD = [
    ("classification", labelled("a text", "good")),
    ("classification", {"text": "a text", "labels": []}),
    ("classification", {"text": "a text", "labels": ["good", "long"], "id": 7}),
    ("token_classification", tagged(("New", "B-place"), ("York", "I-place"), (".", "O"))),
    ("token_classification", annotated("in New York", (3, 11, "place"))),
    ("token_classification", annotated("nothing in here")),
    ("question_answering", question("In Rome.", ("Rome", 3))),
    ("question_answering", question("Nobody knows.")),
    ("embedding", {"anchor": "a", "positive": "b"}),
    ("embedding", {"anchor": "a", "positive": "b", "negative": "c"}),
    ("embedding", {"sentence1": "a", "sentence2": "b", "score": 4}),
    ("embedding", {"sentence1": "a", "sentence2": "b", "score": 1e308}),
    ("embedding", {"sentence1": "a", "sentence2": "b", "score": -1e30, "id": 2**64 - 1}),
    ("embedding", {"sentence1": "a", "sentence2": "b", "score": -0.25, "id": 7}),
]

BAD = [
    (labelled("", "good"), "text is empty"),
    ({"text": "a"}, "has no label"),
    ({"text": "a", "label": "x", "labels": ["x"]}, "has both label and labels"),
    (
        {"text": "a", "label": ["x", "y"]},
        'label is a list. Write several labels of a text as "labels": '
        '{"text": "…", "labels": ["a", "b"]}.',
    ),
    ({"text": "a", "label": 3}, 'label is a number. Write labels as strings, such as "3".'),
    ({"text": "a", "label": None}, "label is null. Give it a label"),
    (labelled("a", " good"), "spaces around it"),
    ({"text": "a", "labels": ["x", "x"]}, 'the label "x" appears twice'),
    ({"text": "a", "label": "x", "lable": "y"}, 'contains an extra "lable"'),
    (tagged(("Rome", "place")), 'tag 1 is "place"'),
    ({"tokens": ["a", "b"], "tags": ["O"]}, "has 2 tokens but 1 tags"),
    ({"tokens": [], "tags": []}, "tokens is an empty list"),
    ({"tokens": ["a", ""], "tags": ["O", "O"]}, "token 2 is empty"),
    (annotated("New York", (0, 8, "a"), (4, 8, "b")), "the entities [0, 8) and [4, 8) overlap"),
    (annotated("Rome", (0, 5, "a")), "[0, 5) is not in the text of 4 characters"),
    (annotated("Rome", (2, 2, "a")), "[2, 2) is not in the text"),
    (annotated("a   b", (1, 3, "x")), "the entity [1, 3) is only whitespace. Mark a word"),
    (question("In Rome.", ("Paris", 3)), 'the answer "Paris" is not in the context'),
    (question("In Rome.", ("Rome", 2)), 'the answer "Rome" is not at character 2. It is at 3.'),
    ({"context": "a", "question": "b"}, "is missing key 'answers'"),
    ({"anchor": "a"}, "is missing key 'positive'"),
    ({"anchor": "a", "positive": " "}, "positive is empty"),
    ({"sentence1": "a", "sentence2": "b"}, "is missing key 'score'"),
    ({"sentence1": "a", "sentence2": "b", "score": "0.5"}, "score is a string"),
    ({"sentence1": "a", "sentence2": "b", "score": 1e30, "id": 2**64}, "an integer too large"),
    ({"sentence1": "a", "sentence2": "b", "score": -(2**63) - 1}, "an integer too large"),
    ({"sentence1": "a", "sentence2": "b", "score": True}, "score is true or false"),
    ({"sentence1": "a", "anchor": "b", "score": 1}, "is missing key 'sentence2'"),
    ({"anchor": "a", "positive": "b", "score": 1}, 'contains an extra "score"'),
]


@pytest.mark.parametrize(("name", "row"), GOOD)
def test_valid_row(name: str, row: dict[str, Any]) -> None:
    report = validate(row)
    assert (report.format, report.status_details()) == (name, None)


@pytest.mark.parametrize(("row", "reason"), BAD)
def test_invalid_row(row: dict[str, Any], reason: str) -> None:
    report = validate(row)
    assert reason in (report.status_details() or "")
    assert report.errors[0].line == 1


def test_mixed_formats_and_shapes_are_rejected() -> None:
    mixed = validate(labelled("a", "x"), {"anchor": "a", "positive": "b"})
    assert "Example 2 is in the embedding format" in (mixed.status_details() or "")
    shapes = validate(labelled("a", "x"), {"text": "b", "labels": ["x"]})
    assert "Example 2 has 'labels', those before it have 'label'" in (shapes.status_details() or "")
    spans = validate(tagged(("Rome", "B-place")), annotated("Rome", (0, 4, "place")))
    assert "Example 2 has 'entities', those before it have 'tags'" in (spans.status_details() or "")
    scored = {"sentence1": "a", "sentence2": "b", "score": 0.5}
    pairs = validate({"anchor": "a", "positive": "b"}, scored)
    assert "Example 2 has 'score', those before it have 'positive'" in (
        pairs.status_details() or ""
    )
    assert pairs.summary is not None
    assert pairs.summary.shape == "positive"


def test_two_scores_of_one_pair_conflict() -> None:
    pair = {"sentence1": "a", "sentence2": "b"}
    summary = validate({**pair, "score": 1}, {**pair, "score": 0}, {**pair, "score": 1.0}).summary
    assert summary is not None
    assert (summary.duplicates, summary.conflicts) == (1, 1)


def test_summary_counts_labels_duplicates_and_conflicts() -> None:
    rows = [labelled("a", "x"), labelled("b", "y"), labelled("a", "x"), labelled("b", "x")]
    summary = validate(*rows).summary
    assert summary is not None
    assert summary.labels == {"x": 3, "y": 1}
    assert summary.first_lines == {"x": 1, "y": 2}
    assert (summary.duplicates, summary.conflicts) == (1, 1)
    assert summary.notes[0] == ("1 example(s) are duplicates, first in line 3 (as in line 1).")
    assert "contradict an earlier one, first in line 4 (as in line 2)" in summary.notes[1]


def test_label_counts_sentence_is_truncated() -> None:
    sentence = label_counts_sentence({"rare": 1, **{f"label {n:02}": 9 for n in range(24)}})
    assert sentence.startswith('25 label(s): "label 00" 9, "label 01" 9,')
    assert sentence.endswith('"label 19" 9 and 5 more.')


def test_labels_with_a_single_example_are_noted_with_their_line() -> None:
    rows = [labelled("a", "x"), labelled("b", "x"), labelled("c", "y")]
    summary = validate(*rows, *(labelled(n, n) for n in "pqr")).summary
    assert summary is not None
    (note,) = summary.notes
    assert note.endswith('too few to learn: "y" (line 3), "p" (line 4), "q" (line 5) and 1 more.')
    assert notes_of(*rows[:2], *(labelled(text, "y") for text in "cd")) == ()


def test_too_few_labels_are_noted() -> None:
    single = [labelled(f"text {number}", "only") for number in range(3)]
    needed = "a training file needs at least 2 label(s)."
    assert notes_of(*single) == (f'All 3 example(s) have one label, "only"; {needed}',)
    none: dict[str, Any] = {"text": "of no label", "labels": []}
    assert notes_of(none) == (f"None of the 1 example(s) has a label; {needed}",)
    several = [{"text": text, "labels": ["only"]} for text in "ab"]
    assert notes_of(none, *several) == (f'2 of 3 example(s) have one label, "only"; {needed}',)
    places = [annotated(f"in Rome, {number}", (3, 7, "place")) for number in range(2)]
    assert notes_of(*places) == (), "one entity label is learned against all other words"
    (nothing,) = notes_of(annotated("nothing in here"))
    assert nothing.endswith("has a label; a training file needs at least 1 label(s).")


def test_questions_are_counted_but_are_not_learned_labels() -> None:
    rows = [question(f"In Rome, in {year}.", ("Rome", 3)) for year in range(1900, 1930)]
    report = validate(*rows, question("Nobody knows."))
    assert report.summary is not None
    assert report.summary.labels == {"answer": 30, "no answer": 1}
    assert report.summary.notes == (), "these labels are only counted, not learned"


def test_imbalance_and_split_words_are_noted_but_valid() -> None:
    often = [labelled(f"text {number}", "often") for number in range(20)]
    report = validate(*often, labelled("text", "seldom"))
    assert report.status_details() is None
    assert report.summary is not None
    assert '"often" appears 20 times, "seldom" 1 times' in report.summary.notes[1]
    entities = [annotated(f"Rome {number}", (0, 4, "often")) for number in range(20)]
    assert "Consider class_weights" in notes_of(*entities, annotated("Anna", (0, 4, "seldom")))[1]
    cut = validate(annotated("Yorkshire", (0, 4, "place"))).summary
    assert cut is not None
    assert "an entity starts or ends inside a word, first in line 1" in cut.notes[0]


def test_tags_decode_to_the_entities_of_seqeval() -> None:
    row = tagged(("a", "B-x"), ("b", "I-x"), ("c", "B-x"), ("d", "I-y"), ("e", "O"), ("f", "I-y"))
    entities = token_classification.to_example(row).entities
    assert [(e.start, e.end, e.label) for e in entities] == [
        (0, 3, "x"),
        (4, 5, "x"),
        (6, 7, "y"),
        (10, 11, "y"),
    ]


def test_conversion() -> None:
    example = classification.to_example(labelled("a", "x"))
    assert (example.labels, example.multi_label) == (("x",), False)
    answers = question_answering.to_example(question("In Rome.", ("Rome", 3))).answers
    assert [(span.start, span.text) for span in answers] == [(3, "Rome")]
