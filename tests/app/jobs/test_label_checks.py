"""Labels that cannot be learned, or not measured, are named before a machine is occupied."""

import pytest

from app import ids
from app.db.tables import File
from app.jobs import file_checks


def file(labels: dict[str, int], *, format: str = "classification", shape: str = "") -> File:
    """A processed file of 100 examples whose labels are there so often, each first in line 7."""
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


GOOD = file({"a": 50, "b": 50})


def test_labels_that_are_there_several_times_can_be_learned() -> None:
    assert file_checks.find_failure("classification", GOOD, file({"a": 50, "b": 50})) is None


@pytest.mark.parametrize(
    ("training", "checked", "param", "reason"),
    [
        (file({"a": 100}), None, "training_file", "only the label 'a'"),
        (file({}), None, "training_file", "no label at all"),
        (file({"a": 99, "b": 1}), None, "training_file", "'b' is there once, in line 7"),
        (GOOD, file({"a": 9, "c": 1}), "validation_file", "'c' (line 7) is not in the training"),
    ],
)
def test_a_problem_names_the_label_and_its_line(
    training: File, checked: File | None, param: str, reason: str
) -> None:
    problem = file_checks.find_failure("classification", training, checked)
    assert problem is not None
    assert problem.param == param
    assert reason in problem.message


def test_one_kind_of_entity_is_enough() -> None:
    tagged = file({"person": 30}, format="token_classification")
    assert file_checks.find_failure("token_classification", tagged, None) is None


def test_both_files_are_written_in_one_way() -> None:
    one, several = (file({"a": 50, "b": 50}, shape=shape) for shape in ("label", "labels"))
    problem = file_checks.find_failure("classification", one, several)
    assert problem is not None
    assert problem.param == "validation_file"
    assert "have 'labels', those of the training file have 'label'" in problem.message
    assert (
        file_checks.find_failure("classification", one, file({"a": 50, "b": 50}, shape="label"))
        is None
    )


def test_texts_of_one_label_alone_make_no_embedding() -> None:
    problem = file_checks.find_failure("embedding", file({"a": 100}), None)
    assert problem is not None
    assert "only the label 'a'" in problem.message


def test_questions_without_any_answer_teach_nothing() -> None:
    asked = {"format": "question_answering"}
    problem = file_checks.find_failure(
        "question_answering", file({"no answer": 100}, **asked), None
    )
    assert problem is not None
    assert "No question in it has an answer" in problem.message
    some = file({"no answer": 99, "answer": 1}, **asked)
    assert file_checks.find_failure("question_answering", some, None) is None


def test_embeddings_are_measured_on_labels_that_they_were_not_made_of() -> None:
    assert file_checks.find_failure("embedding", GOOD, file({"c": 50, "d": 50})) is None


def test_embeddings_are_not_measured_on_texts_that_are_each_alone() -> None:
    problem = file_checks.find_failure("embedding", GOOD, file({"c": 1, "d": 1}))
    assert problem is not None
    assert problem.param == "validation_file"
    assert "Each of its labels is there once" in problem.message
    assert file_checks.find_failure("embedding", GOOD, file({"c": 1, "d": 2})) is None


def test_embeddings_are_made_from_pairs_and_from_labelled_texts() -> None:
    assert file_checks.find_failure("embedding", file({}, format="embedding"), None) is None
    assert file_checks.find_failure("embedding", GOOD, None) is None
    problem = file_checks.find_failure("embedding", file({}, format="chat"), None)
    assert problem is not None
    assert problem.code == "invalid_file_format"
