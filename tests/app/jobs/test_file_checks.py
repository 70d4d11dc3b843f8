"""What a job's files must be, and the words for each way in which they are not."""

from typing import Any

import pytest

from app import ids
from app.db.tables import File
from app.jobs import file_checks
from app.jobs.file_checks import JobFailure


def file(**changes: Any) -> File:
    values: dict[str, Any] = {
        "id": "file-a",
        "status": "processed",
        "format": "chat",
        "examples": 10,
        # No two are the same, unless a test says so.
        "sha256": ids.random_alphanumeric(8),
    }
    return File(**values | changes)


BROKEN = {"status": "error", "status_details": "Invalid file format. Line 3, no messages."}
CASES = [
    (
        "training",
        {"examples": 3},
        "invalid_n_examples",
        "Training file has 3 example(s), but must have at least 10 examples",
    ),
    (
        "validation",
        {"examples": 0},
        "invalid_n_examples",
        "Validation file has 0 example(s), but must have at least 1 examples",
    ),
    (
        "training",
        BROKEN,
        "invalid_training_file",
        "The job failed due to an invalid training file. Invalid file format. Line 3, no messages.",
    ),
    (
        "validation",
        BROKEN,
        "invalid_validation_file",
        "The job failed due to an invalid validation file. "
        "Invalid file format. Line 3, no messages.",
    ),
    (
        "training",
        BROKEN | {"faults": {"count": 1, "first": [{"code": "invalid_file_format"}]}},
        "invalid_file_format",
        "The job failed due to a file format error in the training file. "
        "Invalid file format. Line 3, no messages.",
    ),
    (
        "training",
        {"deleted_at": "2026-11-22"},
        "invalid_training_file",
        "The job failed due to an invalid training file. "
        "file-a was deleted before the job could read it.",
    ),
    (
        "training",
        {"format": "preference"},
        "invalid_file_format",
        "The job failed due to a file format error in the training file. Invalid file format. "
        "Example 1 is missing key 'messages'. "
        "Method supervised needs examples in the chat or completion format, "
        "these are in the preference format.",
    ),
]


@pytest.mark.parametrize(("role", "changes", "code", "message"), CASES)
def test_what_is_wrong_has_a_code_and_a_sentence(
    role: str, changes: dict[str, Any], code: str, message: str
) -> None:
    wrong = file(**changes)
    pair = (wrong, None) if role == "training" else (file(), wrong)
    assert file_checks.find_failure("supervised", *pair) == JobFailure(
        code, message, f"{role}_file"
    )


def test_preferences_are_asked_for_in_openais_words() -> None:
    problem = file_checks.find_failure("dpo", file(), None)
    assert problem is not None
    assert "Invalid file format. Example 1 is missing key 'input'. Method dpo" in problem.message
    assert file_checks.find_failure("dpo", file(format="preference"), None) is None


def test_good_files_have_no_problem() -> None:
    assert file_checks.find_failure("supervised", file(), None) is None
    assert file_checks.find_failure("supervised", file(), file(examples=1)) is None


def test_a_copy_of_the_training_file_validates_nothing() -> None:
    problem = file_checks.find_failure("supervised", file(sha256="a"), file(sha256="a"))
    assert problem is not None
    assert (problem.code, problem.param) == ("invalid_validation_file", "validation_file")
    assert "same content as the training file" in problem.message
