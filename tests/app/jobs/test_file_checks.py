"""Checks of a job's files, and the failure of each."""

from typing import Any

import pytest

from app import ids
from app.db.tables import File
from app.jobs import file_checks
from app.jobs.failures import JobFailure


def build_file(**changes: Any) -> File:
    values: dict[str, Any] = {
        "id": "file-a",
        "status": "processed",
        "format": "chat",
        "examples": 10,
        # Unique, unless a test overrides it.
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
        BROKEN | {"validation_errors": {"count": 1, "first": [{"code": "invalid_file_format"}]}},
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
def test_a_failure_has_code_message_and_param(
    role: str, changes: dict[str, Any], code: str, message: str
) -> None:
    wrong = build_file(**changes)
    pair = (wrong, None) if role == "training" else (build_file(), wrong)
    assert file_checks.find_failure("supervised", *pair) == JobFailure(
        code, message, f"{role}_file"
    )


def test_dpo_requires_preference_files_in_openais_words() -> None:
    failure = file_checks.find_failure("dpo", build_file(), None)
    assert failure is not None
    assert "Invalid file format. Example 1 is missing key 'input'. Method dpo" in failure.message
    assert file_checks.find_failure("dpo", build_file(format="preference"), None) is None


def test_valid_files_have_no_failure() -> None:
    assert file_checks.find_failure("supervised", build_file(), None) is None
    assert file_checks.find_failure("supervised", build_file(), build_file(examples=1)) is None


def test_rejects_a_copy_of_the_training_file_as_validation_file() -> None:
    failure = file_checks.find_failure("supervised", build_file(sha256="a"), build_file(sha256="a"))
    assert failure is not None
    assert (failure.code, failure.param) == ("invalid_validation_file", "validation_file")
    assert "same content as the training file" in failure.message


def test_rejects_a_copy_of_the_validation_file_as_test_file() -> None:
    files = build_file(), build_file(sha256="a"), build_file(sha256="a")
    failure = file_checks.find_failure("supervised", *files)
    assert failure is not None
    assert (failure.code, failure.param) == ("invalid_test_file", "test_file")
    assert "same content as the validation file" in failure.message
