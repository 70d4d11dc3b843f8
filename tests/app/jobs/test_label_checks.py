"""Label checks: labels that cannot be learned or evaluated fail a job before it is queued."""

import pytest

from app import ids
from app.db.tables import File
from app.jobs import file_checks


def build_file(labels: dict[str, int], *, format: str = "classification", shape: str = "") -> File:
    """A processed file of 100 examples with these label counts, each label first in line 7."""
    lines = dict.fromkeys(labels, 7)
    summary = {"labels": labels, "first_lines": lines, "notes": [], "shape": shape}
    return File(
        id="file-a",
        status="processed",
        format=format,
        examples=100,
        summary=summary,
        sha256=ids.random_alphanumeric(8),
    )


GOOD = build_file({"a": 50, "b": 50})


def test_accepts_labels_with_several_examples() -> None:
    assert file_checks.find_failure("classification", GOOD, build_file({"a": 50, "b": 50})) is None


@pytest.mark.parametrize(
    ("training", "checked", "param", "reason"),
    [
        (build_file({"a": 100}), None, "training_file", "only the label 'a'"),
        (build_file({}), None, "training_file", "no label at all"),
        (build_file({"a": 99, "b": 1}), None, "training_file", "'b' occurs only once, in line 7"),
        (
            GOOD,
            build_file({"a": 9, "c": 1}),
            "validation_file",
            "'c' (line 7) is not in the training",
        ),
    ],
)
def test_a_failure_names_the_label_and_its_line(
    training: File, checked: File | None, param: str, reason: str
) -> None:
    failure = file_checks.find_failure("classification", training, checked)
    assert failure is not None
    assert failure.param == param
    assert reason in failure.message


def test_token_classification_needs_one_label() -> None:
    tagged = build_file({"person": 30}, format="token_classification")
    assert file_checks.find_failure("token_classification", tagged, None) is None


def test_both_files_must_use_the_same_fields() -> None:
    one, several = (build_file({"a": 50, "b": 50}, shape=shape) for shape in ("label", "labels"))
    failure = file_checks.find_failure("classification", one, several)
    assert failure is not None
    assert failure.param == "validation_file"
    assert "have 'labels', those of the training file have 'label'" in failure.message
    assert (
        file_checks.find_failure(
            "classification", one, build_file({"a": 50, "b": 50}, shape="label")
        )
        is None
    )


def test_embedding_needs_two_labels() -> None:
    failure = file_checks.find_failure("embedding", build_file({"a": 100}), None)
    assert failure is not None
    assert "only the label 'a'" in failure.message


def test_question_answering_needs_an_answer() -> None:
    options = {"format": "question_answering"}
    failure = file_checks.find_failure(
        "question_answering", build_file({"no answer": 100}, **options), None
    )
    assert failure is not None
    assert "None of its questions has an answer" in failure.message
    some = build_file({"no answer": 99, "answer": 1}, **options)
    assert file_checks.find_failure("question_answering", some, None) is None


def test_embedding_accepts_unseen_validation_labels() -> None:
    assert file_checks.find_failure("embedding", GOOD, build_file({"c": 50, "d": 50})) is None


def test_embedding_needs_a_validation_label_with_two_texts() -> None:
    failure = file_checks.find_failure("embedding", GOOD, build_file({"c": 1, "d": 1}))
    assert failure is not None
    assert failure.param == "validation_file"
    assert "Each of its labels occurs only once" in failure.message
    assert file_checks.find_failure("embedding", GOOD, build_file({"c": 1, "d": 2})) is None


def test_embedding_accepts_pairs_and_labelled_texts() -> None:
    assert file_checks.find_failure("embedding", build_file({}, format="embedding"), None) is None
    assert file_checks.find_failure("embedding", GOOD, None) is None
    failure = file_checks.find_failure("embedding", build_file({}, format="chat"), None)
    assert failure is not None
    assert failure.code == "invalid_file_format"
